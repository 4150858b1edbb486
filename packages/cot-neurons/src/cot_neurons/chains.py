"""Chains of thought as tables: which items to watch, what each decoding step wrote, and one chain to look at."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from cot_neurons.tags import tag

STEP_COLUMNS = {"row": pl.Int32, "step": pl.Int32, "token_id": pl.Int32, "token": pl.String, "tag": pl.String}
_LONGEST_SHOWN = 90


def draw(items: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """`count` items in random order: the whole list is shuffled by the seed, then cut."""
    order = list(range(len(items)))
    Random(seed).shuffle(order)
    return items[order[:count]]


def balanced(items: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """`count` items, half of them right as far as there are both, drawn by the seed, in the order of their rows."""
    right = draw(items.filter("correct_strict"), count, seed)
    wrong = draw(items.filter(~pl.col("correct_strict")), count, seed)
    right = right.head(max(count // 2, count - len(wrong)))
    return pl.concat([right, wrong.head(count - len(right))]).sort("row")


def steps(
    rows: Sequence[int], tokens: Sequence[Sequence[int]], pieces: Callable[[Sequence[int]], list[str]], *, tail: bool
) -> pl.DataFrame:
    """One line per decoding step of each row, with the token it wrote and that token's tag.

    Without `tail` what follows the answer is left out. With it all steps stay but the last, which the original does not
    look at.
    """
    tables = [_steps(row, ids, pieces(ids), tail) for row, ids in zip(rows, tokens, strict=True)]
    return pl.concat(tables)


def _steps(row: int, ids: Sequence[int], pieces: list[str], tail: bool) -> pl.DataFrame:
    tags = tag(pieces)
    end = len(ids) - 1 if tail else next((i for i, each in enumerate(tags) if each == "after_answer"), len(ids))
    columns = {"row": [row] * end, "step": range(end), "token_id": ids[:end], "token": pieces[:end], "tag": tags[:end]}
    return pl.DataFrame(columns, schema=STEP_COLUMNS)


def tagged(strongest: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """The strongest neurons of the steps that count, each with its step's tag."""
    return strongest.join(steps.select("row", "step", "tag"), on=["row", "step"], how="inner", maintain_order="left")


def pieces(path: Path) -> Iterator[pl.DataFrame]:
    """A table one row group at a time, so that memory does not grow with it."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield pl.DataFrame(file.read_row_group(group))


def example(steps: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """The steps of one chain to look at: a right answer if there is one, with many operators, that fits a picture."""
    right = pl.col("row").is_in(items.filter("correct_strict")["row"].cast(pl.Int32).implode())
    operators = pl.col("token").filter(pl.col("tag") == "operator").str.strip_chars().n_unique()
    chains = steps.group_by("row").agg(length=pl.len(), operators=operators).with_columns(right=right)
    best = chains.sort(
        pl.col("length") <= _LONGEST_SHOWN, "right", "operators", pl.col("length"), "row",
        descending=[True, True, True, False, False],
    )  # fmt: skip
    return steps.filter(pl.col("row") == best["row"][0]).head(_LONGEST_SHOWN)


def question(chain: pl.DataFrame, items: pl.DataFrame) -> str:
    """What a chain answers."""
    return items.filter(pl.col("row") == chain["row"][0])["question"][0]


def grid(chain: pl.DataFrame, activations: Iterable[pl.DataFrame], neurons: pl.DataFrame) -> np.ndarray:
    """Signed scores [neurons, steps] of the given neurons along one chain; 0 where one was not among the strongest."""
    row = chain["row"][0]
    places = neurons.select("layer", "neuron", "polarity").with_row_index("place")
    seen = (
        pl.concat(piece.filter(pl.col("row") == row) for piece in activations)
        .with_columns(polarity=pl.when(pl.col("score") > 0).then(pl.lit("+")).otherwise(pl.lit("-")))
        .join(places, on=["layer", "neuron", "polarity"], how="inner")
    )
    scores = np.zeros((len(neurons), len(chain)), dtype=np.float32)
    inside = seen.filter(pl.col("step") < len(chain))
    scores[inside["place"].to_numpy(), inside["step"].to_numpy()] = inside["score"].to_numpy()
    return scores
