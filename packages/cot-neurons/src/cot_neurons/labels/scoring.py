"""The table `scores`: every neuron against every concept and decoy, from the token lists alone."""

from collections.abc import Mapping, Sequence

import actkit
import numpy as np
import polars as pl
import torch
from actkit.promote import token_scores
from jaxtyping import Float, Int
from runkit.errors import UsageError
from runkit.tables import NEURON_KEY

from cot_neurons import tables
from cot_neurons.labels.matching import Lists, false_discovery_rates, null_gains
from cot_neurons.labels.vocabulary import Vocabulary

_CHUNK = 32_000_000  # scores held at once: 128 MB in float32
_FOREIGN = 0.25  # share of lists headed by a token that the weights push down: half, where the lists are not theirs


def lists(neurons: pl.DataFrame, model: actkit.Model, source: str) -> Lists:
    """The neurons' token lists, with strengths from the model's weights, whatever lens ordered the lists.

    A strength is the z-score over the vocabulary of polarity·v read through the final norm's gain.

    Raises:
        UsageError: the neurons of `source` are not of these weights.
    """
    _check_fit(neurons, model, source)
    ids = np.asarray(neurons["promotes_ids"].to_list(), dtype=np.int64)
    strengths = np.empty(ids.shape, dtype=np.float32)
    for (layer,), rows in neurons.with_row_index("at").group_by("layer"):
        at = rows["at"].to_numpy()
        strengths[at] = _strengths(model, int(layer), rows["neuron"].to_list(), ids[at])  # pyright: ignore[reportArgumentType]
    strengths *= np.where(neurons["polarity"].to_numpy() == "+", 1, -1)[:, None]
    heads = strengths[:, 0][strengths[:, 0] != 0]  # of neurons that write anything
    if (heads < 0).sum() > _FOREIGN * len(heads):
        raise UsageError(
            f"--neurons {source}: what these neurons are said to promote, this model's weights do not: was the model "
            "changed since? Run discover again"
        )
    return Lists(ids, np.maximum(strengths, 0))


def _check_fit(neurons: pl.DataFrame, model: actkit.Model, source: str) -> None:
    dims = model.dims
    highest = pl.col("promotes_ids").list.max()
    strangers = neurons.filter(
        (pl.col("layer") >= dims.layers) | (pl.col("neuron") >= dims.d_mlp) | (highest >= dims.vocab)
    )
    if len(strangers):
        layer, neuron, token = strangers.select("layer", "neuron", highest).row(0)
        raise UsageError(
            f"--neurons {source}: neuron L{layer}N{neuron}, promoting token {token}, is not in this model, which has "
            f"{dims.layers} layers of {dims.d_mlp} neurons and {dims.vocab} tokens: was the model changed since?"
        )


@torch.no_grad()
def _strengths(
    model: actkit.Model, layer: int, neurons: list[int], ids: Int[np.ndarray, "n K"]
) -> Float[np.ndarray, "n K"]:
    """z-scores of the listed tokens under +v."""
    values, wanted = model.value_vectors(layer), torch.from_numpy(ids)
    width = max(1, _CHUNK // model.dims.vocab)
    parts: list[torch.Tensor] = []
    for start in range(0, len(neurons), width):
        vectors = values[neurons[start : start + width]].to(model.head.weight.device)
        scores = token_scores(model, vectors)
        parts.append(scores.gather(-1, wanted[start : start + width].to(scores.device)).cpu())
    return torch.cat(parts).numpy()


class Scoring:
    """Holds token lists against concepts: one null, and one control of false discoveries for all that is asked.

    The control is over all neurons and concepts that it is made with, matching or not; whatever else is scored (decoys,
    shuffled lists) gets the rate that a concept with its p has.
    """

    def __init__(self, of: Lists, concepts: Mapping[str, Sequence[int]], vocabulary: Vocabulary, seed: int) -> None:
        self._vocabulary = vocabulary
        self._null = null_gains(of.ids.shape[1], vocabulary.size, seed)
        p = np.concatenate([self._null.p(of.gains(ids), len(ids)) for ids in concepts.values()])
        self._p = np.sort(p)
        self._q = false_discovery_rates(self._p)

    def table(
        self, keys: pl.DataFrame, of: Lists, concepts: Mapping[str, Sequence[int]], *, decoy: bool = False
    ) -> pl.DataFrame:
        """Rows of the table `scores` for the neurons `keys`, whose lists are `of`: one per concept with a match."""
        parts = [self._rows(keys, of, name, ids, decoy) for name, ids in concepts.items()]
        return pl.concat(parts).sort(*NEURON_KEY, "concept")

    def _rows(self, keys: pl.DataFrame, of: Lists, name: str, ids: Sequence[int], decoy: bool) -> pl.DataFrame:
        gains, hits = of.gains(ids), of.hits(ids)
        at = np.flatnonzero(gains)
        p = self._null.p(gains[at], len(ids))
        places = [np.flatnonzero(row) for row in hits[at]]
        matched = [self._vocabulary.spell(of.ids[row, place].tolist()) for row, place in zip(at, places, strict=True)]
        columns = {
            "concept": [name] * len(at),
            "decoy": [decoy] * len(at),
            "score": of.scores(ids)[at],
            "p": p,
            "q": self._q[np.minimum(np.searchsorted(self._p, p), len(self._q) - 1)],
            "matched": matched,
            "ranks": [(place + 1).tolist() for place in places],
        }
        schema = tables.columns(tables.Scores)
        return keys[at].with_columns(pl.Series(column, values, schema[column]) for column, values in columns.items())
