"""Sums the activations table up into one row per neuron: how often, how strongly, and at which kind of token.

Sums are kept per (kind of token, layer, neuron, sign), so memory does not depend on the number of items.
"""

from collections.abc import Sequence
from typing import Any

import actkit
import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cot_neurons.profiles import Profile
from cot_neurons.tags import KINDS

OPERATOR_SPELLINGS = {"+": "+", "-": "-", "−": "-", "*": "*", "x": "*", "×": "*", "/": "/", "÷": "/"}


def kinds(steps: pl.DataFrame) -> pl.DataFrame:
    """Row, step and `kind` of each decoding step: its tag, or which operator it wrote."""
    operator = pl.col("token").str.strip_chars().str.to_lowercase().replace_strict(OPERATOR_SPELLINGS, default="text")
    kind = pl.when(pl.col("tag") == "operator").then(operator).otherwise(pl.col("tag"))
    return steps.select("row", "step", kind=kind.cast(pl.Enum(KINDS)).to_physical())


_MARKS = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\\n"})


class Portraits:
    """Running sums over an activations table, whose decoding steps are given as a whole."""

    def __init__(self, layers: Sequence[int], d_mlp: int, steps: pl.DataFrame) -> None:
        self.layers = list(layers)
        self._shape = (len(KINDS), len(self.layers), d_mlp, 2)
        self._hits = np.zeros(self._shape, dtype=np.int64)
        self._strength = np.zeros(self._shape, dtype=np.float64)
        self._peak = np.zeros(self._shape[1:], dtype=np.float32)
        self._kinds = kinds(steps)
        self._steps = np.bincount(self._kinds["kind"].to_numpy(), minlength=len(KINDS))

    def add(self, activations: pl.DataFrame) -> None:
        """Add one piece of the table."""
        place = np.ravel_multi_index(self._places(activations), self._shape)
        strength = np.abs(activations["score"].to_numpy())
        size = self._hits.size
        self._hits += np.bincount(place, minlength=size).reshape(self._shape)
        self._strength += np.bincount(place, strength, minlength=size).reshape(self._shape)
        np.maximum.at(self._peak.reshape(-1), place % self._peak.size, strength)

    def layer_map(self) -> tuple[Float[np.ndarray, "layers kinds"], list[str]]:
        """Mean summed score per step, for each layer and each kind of token that occurred; and these kinds."""
        there = self._steps > 0
        means = self._strength.sum(axis=(2, 3))[there] / self._steps[there, None]
        return means.T, [kind for kind, is_there in zip(KINDS, there, strict=True) if is_there]

    def table(self, model: str) -> pl.DataFrame:
        """One row per neuron and sign that was ever kept.

        `mean_KIND`: mean score per step of that kind (0 where not kept). `focus`: the kind for which that mean exceeds
        the mean over all other steps most, and `contrast` by how much.
        """
        layer, neuron, sign = np.nonzero(self._hits.sum(axis=0))
        hits = self._hits[:, layer, neuron, sign]
        strength = self._strength[:, layer, neuron, sign]
        focus, contrast = self._focus(strength)
        means = strength / np.maximum(self._steps, 1)[:, None]
        return pl.DataFrame(
            {
                "model": [model] * len(layer),
                "layer": np.asarray(self.layers, dtype=np.int64)[layer],
                "neuron": neuron,
                "polarity": np.where(sign == 0, "+", "-"),
                "hits": hits.sum(axis=0),
                "hit_rate": hits.sum(axis=0) / self._steps.sum(),
                "mean_score": strength.sum(axis=0) / hits.sum(axis=0),
                "max_score": self._peak[layer, neuron, sign],
                "focus": np.asarray(KINDS)[focus],
                "contrast": contrast,
                **{f"mean_{kind}": means[i] for i, kind in enumerate(KINDS)},
            }
        )

    def _focus(self, strength: Float[np.ndarray, "groups n"]) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        inside = strength / np.maximum(self._steps, 1)[:, None]
        others = np.maximum(self._steps.sum() - self._steps, 1)[:, None]
        gap = inside - (strength.sum(axis=0) - strength) / others
        gap[self._steps == 0] = -np.inf
        focus = gap.argmax(axis=0)
        return focus, np.take_along_axis(gap, focus[None], axis=0)[0]

    def _places(self, activations: pl.DataFrame) -> tuple[np.ndarray, ...]:
        kind = activations.join(self._kinds, on=["row", "step"], how="left", maintain_order="left")["kind"].to_numpy()
        layer = np.searchsorted(self.layers, activations["layer"].to_numpy())
        sign = (activations["score"].to_numpy() < 0).astype(np.int64)
        return kind, layer, activations["neuron"].to_numpy(), sign


def with_tokens(neurons: pl.DataFrame, model: actkit.Model, profile: Profile, k: int) -> pl.DataFrame:
    """Add what each neuron promotes and suppresses when it fires with its sign: k tokens each (algorithm 2).

    The neurons come out in the order of their contrast, the most telling first.
    """
    pairs = neurons.select("layer", "neuron").unique(maintain_order=True).iter_rows()
    tokens = actkit.promoted_tokens(model, pairs, k=k, lens=profile.lens)
    poles = tokens.group_by("layer", "neuron", "pole", maintain_order=True).agg("token_id", "token", pl.col("score"))
    up = poles.rename({"pole": "polarity", "token_id": "promotes_ids", "token": "promotes", "score": "promotes_scores"})
    other = pl.when(pl.col("pole") == "+").then(pl.lit("-")).otherwise(pl.lit("+"))
    down = poles.select("layer", "neuron", polarity=other, suppresses="token")
    key = ["layer", "neuron", "polarity"]
    told = neurons.join(up, on=key, how="left").join(down, on=key, how="left")
    first = ["model", *key, "focus", "contrast", "promotes", "suppresses"]
    return told.select(*first, pl.exclude(first)).sort("contrast", *key, descending=[True, False, False, False])


def strongest_of_each_kind(neurons: pl.DataFrame, count: int = 2) -> pl.DataFrame:
    """The first `count` neurons for each kind of token, in the order of the kinds."""
    kind = pl.col("focus").cast(pl.Enum(KINDS))
    return (
        neurons.filter(pl.col("focus") != "after_answer")
        .group_by("focus", maintain_order=True)
        .head(count)
        .sort(kind, maintain_order=True)
    )


def labels(neurons: pl.DataFrame) -> list[str]:
    """A short name per neuron: kind, layer, number, sign, and what it promotes."""
    return [f"{row['focus']:>8}  {name(row)}  {said(row['promotes'], 3)}" for row in neurons.iter_rows(named=True)]


def told(neurons: pl.DataFrame) -> dict[str, str]:
    """For each kind of token its strongest neurons, for the person at the terminal."""
    lines: dict[str, list[str]] = {}
    for row in neurons.iter_rows(named=True):
        lines.setdefault(row["focus"], []).append(f"{name(row):<9} promotes {said(row['promotes'], 4)}")
    legend = {"writing": "strongest neurons (L3N17-: layer 3, neuron 17, negative)"}
    return legend | {kind: "\n".join(each) for kind, each in lines.items()}


def name(row: dict[str, Any]) -> str:
    """L2N17+ : layer 2, neuron 17, firing positive."""
    return f"L{row['layer']}N{row['neuron']}{row['polarity']}"


def said(tokens: Sequence[str], count: int) -> str:
    """The first tokens of a list, as one would read them."""
    return " ".join(f"'{readable(token)}'" for token in tokens[:count])


def readable(token: str) -> str:
    """A vocabulary entry with the tokenizers' marks as spaces and line ends."""
    return token.translate(_MARKS)
