"""Algorithm 1 of Rai & Yao (2024): the strongest neurons of every layer at every decoding step, kept while decoding.

A neuron (l, i) adds m_i · v_i to the residual stream; its score is m_i · ‖v_i‖₂. Memory grows with steps × layers × k,
not with d_mlp: each step's activations are reduced on the device before the next step begins.
"""

from collections.abc import Sequence

import actkit
import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from cot_neurons.profiles import Ranking


class Strongest:
    """Collects, as `on_step` of a generation, the top `k` neurons per row, step and layer.

    `ranking` "absolute" ranks by |m|·‖v‖ and keeps k; "signed" keeps the k most positive and the k most negative
    m·‖v‖. A neuron that is not active at all is never kept.
    """

    def __init__(self, norms: Float[Tensor, "L N"], layers: Sequence[int], k: int, ranking: Ranking) -> None:
        self.layers = list(layers)
        self._norms = norms
        self._sites = [f"mlp_post.{layer}" for layer in layers]
        self._k = k
        self._ranking: Ranking = ranking
        self._seen: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []  # rows, then neuron, m, score of shape [b, L, k]

    @property
    def sites(self) -> list[str]:
        """What the generation has to capture."""
        return self._sites

    def __call__(self, step: actkit.Step) -> None:
        """Reduce one step: rows b, layers L, neurons N -> the k strongest."""
        m = torch.stack([step.captures[site] for site in self._sites], dim=1).float()
        score = m * self._norms
        if self._ranking == "absolute":
            index = score.abs().topk(self._k, dim=-1).indices
        else:
            top = score.topk(self._k, dim=-1).indices
            index = torch.cat([top, score.topk(self._k, dim=-1, largest=False).indices], dim=-1)
        self._seen.append((step.rows, index.int(), m.gather(-1, index), score.gather(-1, index)))

    def table(self, rows: Sequence[int]) -> pl.DataFrame:
        """All that was kept: row, step, layer, rank, neuron, activation (m), score (m·‖v‖), in that order of keys.

        `rows`: what to call the rows of the batch. `rank` counts from 0 for the strongest; with signed ranking within
        each sign.
        """
        row = np.concatenate([rows_.cpu().numpy() for rows_, *_ in self._seen])
        step = np.repeat(np.arange(len(self._seen)), [len(rows_) for rows_, *_ in self._seen])
        order = np.lexsort((step, row))
        index, m, score = (torch.cat(each).cpu().numpy()[order] for each in list(zip(*self._seen, strict=True))[1:])
        place = np.arange(index.shape[-1])
        keys = {
            "row": np.asarray(rows, dtype=np.int32)[row[order]][:, None, None],
            "step": step[order].astype(np.int32)[:, None, None],
            "layer": np.asarray(self.layers, dtype=np.int16)[None, :, None],
            "rank": (place % self._k).astype(np.int16)[None, None, :],
        }
        kept = score != 0
        if self._ranking == "signed":
            kept &= (score > 0) == (place < self._k)
        columns = {name: np.broadcast_to(values, index.shape)[kept] for name, values in keys.items()}
        values = {"neuron": index, "activation": m, "score": score}
        return pl.DataFrame(columns | {name: each[kept] for name, each in values.items()})
