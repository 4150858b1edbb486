"""Second pass: for the neurons that count, what they did for each item, by logit and by log-probability.

The increase of log-probability is that of Yu & Ananiadou (2024): log p(w | h + m·v) - log p(w | h), where h is the
stream that enters the block of the neuron's MLP and w the token that was written next, both read as the last stream is.
Where an MLP's output is normed before it is added, m·v goes through that norm with its scale held.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from actkit import Model
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cot_neurons.attributions.layers import Layer
from cot_neurons.attributions.readout import Readout
from cot_neurons.finished import Chains
from cot_neurons.tags import KINDS

KEY = ["layer", "neuron", "polarity"]


@dataclass(frozen=True)
class Poles:
    """The neurons to follow, P of them with their signs, and the kinds of token for which each was chosen."""

    table: pl.DataFrame
    """Layer, neuron, polarity, in the order of layers."""
    kinds: Bool[np.ndarray, "P kinds"]

    @classmethod
    def of(cls, chosen: pl.DataFrame) -> "Poles":
        """From layer, neuron, polarity, kind."""
        table = chosen.select(KEY).unique().sort(KEY)
        placed = chosen.join(table.with_row_index("place"), on=KEY)
        kinds = np.zeros((len(table), len(KINDS)), dtype=bool)
        kinds[placed["place"].to_numpy(), [KINDS.index(kind) for kind in placed["kind"]]] = True
        return cls(table, kinds)

    @property
    def layers(self) -> list[int]:
        """The layers they are in."""
        return self.table["layer"].unique().sort().to_list()


class Shares:
    """What the poles did at each step of one batch of chains, filled layer by layer."""

    def __init__(self, model: Model, readout: Readout, poles: Poles, chains: Chains) -> None:
        self._model, self._readout, self._poles = model, readout, poles
        self._kinds = chains.steps["kind"].to_physical().to_numpy()
        self._ids = torch.tensor(chains.steps["token_id"].to_list(), device=chains.batch.input_ids.device)
        self._rows = chains.steps["row"].cast(pl.Int64)
        self._logit, self._logp = (np.zeros((len(self._kinds), len(poles.table))) for _ in range(2))

    def add(self, layer: Layer) -> None:
        """Both measures for the poles of one layer; 0 where a neuron fires with the other sign."""
        places = np.flatnonzero(self._poles.table["layer"] == layer.number)
        poles = self._poles.table[places]
        neurons, which = np.unique(poles["neuron"].to_numpy(), return_inverse=True)
        index = torch.tensor(neurons, device=layer.m.device)
        m = layer.m[:, index]
        values = self._model.value_vectors(layer.number)[index].to(m)
        logit = m * (layer.direction @ values.T)
        wanted = np.stack([self._poles.kinds[places][which == i].any(axis=0) for i in range(len(neurons))])
        logp = self._increases(layer, m, values, wanted)
        signs = torch.tensor([1.0 if sign == "+" else -1.0 for sign in poles["polarity"]]).to(m)
        own = m[:, which] * signs > 0
        self._logit[:, places] = (logit[:, which] * own).cpu().double().numpy()
        self._logp[:, places] = (logp[:, which] * own).cpu().double().numpy()

    def _increases(
        self, layer: Layer, m: Float[Tensor, "S n"], values: Float[Tensor, "n D"], wanted: Bool[np.ndarray, "n kinds"]
    ) -> Float[Tensor, "S n"]:
        """Increase of the written token's log-probability by each neuron, at steps of the kinds it is wanted for."""
        before = self._readout.logp(layer.stream, self._ids).to(m)
        found = torch.zeros_like(m)
        for i, kinds in enumerate(wanted):
            steps = torch.tensor(np.flatnonzero(kinds[self._kinds]), device=m.device)
            after = layer.stream + layer.write(m[:, i : i + 1] * values[i])
            increase = self._readout.logp(after[steps], self._ids[steps.to(self._ids.device)]).to(m) - before[steps]
            found[steps, i] = increase
        return found

    def table(self) -> pl.DataFrame:
        """Row, kind, place (of the pole), steps, logit, logp: sums over an item's steps of one kind."""
        items, place = np.unique(np.stack([self._rows.to_numpy(), self._kinds]), axis=1, return_inverse=True)
        logit, logp = (_summed(each, place.ravel(), items.shape[1]) for each in (self._logit, self._logp))
        steps = np.bincount(place.ravel(), minlength=items.shape[1])
        count = len(self._poles.table)
        row, kind, steps = (np.repeat(each, count) for each in (*items, steps))
        return pl.DataFrame(
            {
                "row": row.astype(np.int64),
                "kind": kind.astype(np.int64),
                "place": np.tile(np.arange(count), items.shape[1]),
            }
            | {"steps": steps.astype(np.int64), "logit": logit.ravel(), "logp": logp.ravel()}
        )


def _summed(values: Float[np.ndarray, "S P"], place: Int[np.ndarray, " S"], count: int) -> Float[np.ndarray, "items P"]:
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, place, values)
    return sums
