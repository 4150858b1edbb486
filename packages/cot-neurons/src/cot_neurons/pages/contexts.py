"""The places where a neuron was strongest, with the tokens around them; found in one pass over the activations."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from cot_neurons import chains
from cot_neurons.pages.evidence import POLE

_EACH = 4
_BEFORE, _AFTER = 14, 4
Pole = tuple[int, int, str]


class Context(NamedTuple):
    """One step: the item, the tokens before, the token written there, the tokens after, and the neuron's m·‖v‖."""

    row: int
    before: str
    token: str
    after: str
    score: float


def contexts(activations: Path, steps: pl.DataFrame, neurons: pl.DataFrame) -> dict[Pole, list[Context]]:
    """The strongest steps of each of `neurons` (layer, neuron, polarity), one per item at most.

    Memory grows with neurons × items.
    """
    wanted = neurons.select(POLE).unique()
    best = pl.concat([_strongest(piece, wanted) for piece in chains.pieces(activations)])
    order = [pl.col("score").abs(), pl.col("row")]
    first = best.sort(order, descending=[True, False]).group_by(POLE, maintain_order=True).head(_EACH)
    told = {row: text for (row,), text in steps.sort("row", "step").group_by("row", maintain_order=True)}
    found: dict[Pole, list[Context]] = {}
    for layer, neuron, polarity, row, step, score in first.select(*POLE, "row", "step", "score").iter_rows():
        found.setdefault((layer, neuron, polarity), []).append(_context(told[row], row, step, score))
    return found


def of_rows(activations: Path, rows: list[int], neurons: pl.DataFrame) -> pl.DataFrame:
    """Row, step and score of each of `neurons` wherever it was among the strongest in these items."""
    wanted = neurons.select(POLE).unique()
    return pl.concat(
        [
            _signed(piece.filter(pl.col("row").is_in(rows))).join(wanted, on=POLE, maintain_order="left")
            for piece in chains.pieces(activations)
        ]
    )


def _strongest(piece: pl.DataFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    """Each neuron's strongest step of each item."""
    there = _signed(piece).join(wanted, on=POLE, maintain_order="left")
    return there.sort(pl.col("score").abs(), descending=True).unique([*POLE, "row"], keep="first", maintain_order=True)


def _signed(piece: pl.DataFrame) -> pl.DataFrame:
    polarity = pl.when(pl.col("score") > 0).then(pl.lit("+")).otherwise(pl.lit("-"))
    return piece.select(
        "row", "step", "score", pl.col("layer", "neuron").cast(pl.Int64), polarity=polarity
    )  # fmt: skip


def _context(chain: pl.DataFrame, row: int, step: int, score: float) -> Context:
    tokens = chain["token"].to_list()
    at = chain["step"].to_list().index(step)
    start, end = max(0, at - _BEFORE), at + 1 + _AFTER
    before, after = "".join(tokens[start:at]), "".join(tokens[at + 1 : end])
    return Context(
        row,
        ("…" if start else "") + on_one_line(before),
        on_one_line(tokens[at]),
        on_one_line(after) + ("…" if end < len(tokens) else ""),
        score,
    )


def on_one_line(text: str) -> str:
    """A text with a mark for each line end."""
    return text.replace("\n", "⏎")
