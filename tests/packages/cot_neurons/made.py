"""Answered items and labels made by hand, with the chains one wants."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cot_neurons import tables
from matplotlib.figure import Figure

PROMPTS = [
    "Question: Ann has 12 apples and buys 7 more. How many?\n",
    "Tom had 24 pens.\n",
    "A box holds 6.\n",
    "She buys 3 boxes of 6 pens. How many are left in the box now?\n",
]
CHAINS = [
    "Ann has 12 + 7 = 19 apples.\nThe answer is 19. And",
    " He lost 24 - 6 = 18 pens, so",
    "The answer is 6.",
    "3 * 6 = 18, and 18 / 2 = 9 pens.\nThe answer is 9",
]
RIGHT = [True, False, True, False]


def items(
    model: str, tokenizer: Any, *, variant: str = "none", prompts: Sequence[str] = PROMPTS,
    chains: Sequence[str] = CHAINS, right: Sequence[bool] = RIGHT,
) -> pl.DataFrame:  # fmt: skip
    """Table `items` with these chains as what the model wrote."""
    rows = [
        {
            "model": model, "variant": variant, "row": i, "id": f"q{i}", "question": prompt, "gold": "5",
            "solution": None,
            "prompt_ids": tokenizer(prompt)["input_ids"], "new_ids": tokenizer(chain)["input_ids"], "text": chain,
            "new_tokens": len(tokenizer(chain)["input_ids"]), "finish": "length", "strict": "5", "flexible": "5",
            "correct_strict": is_right, "correct_flexible": is_right, "no_answer": False, "equations": 0,
            "equations_true": 0,
        }
        for i, (prompt, chain, is_right) in enumerate(zip(prompts, chains, right, strict=True))
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=tables.columns(tables.Items))


def labels(model: str, neurons: Iterable[tuple[int, int, str, str]]) -> pl.DataFrame:
    """Table `labels` for (layer, neuron, polarity, concept)."""
    lines = [
        {
            "model": model, "layer": layer, "neuron": neuron, "polarity": polarity, "concept": concept, "score": 1.0,
            "judge": "rules", "rationale": "", "positives": 0,
        }
        for layer, neuron, polarity, concept in neurons
    ]  # fmt: skip
    return pl.DataFrame(lines, schema=tables.columns(tables.Labels))


def save(frame: pl.DataFrame, path: Path) -> str:
    """Write a table; its path as an option takes it."""
    frame.write_parquet(path)
    return str(path)


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Figures become empty files: drawing takes most of a stage's time where its numbers are looked at."""
    patch.setattr(Figure, "savefig", lambda _figure, path, **_how: Path(path).write_bytes(b""))


def steps(items: pl.DataFrame, row: int) -> tuple[list[int], list[int]]:
    """Token ids of the prompt, and of the whole generated chain."""
    (line,) = items.filter(row=row).select("prompt_ids", "new_ids").rows()
    return line
