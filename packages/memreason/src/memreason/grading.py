"""What a student said, read and graded: a row of the table of answers."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from memreason import answers, tables
from memreason.asking import Said
from memreason.codec import Codec
from memreason.scheme import Arm
from memreason.tables import columns
from memreason.trace import Item

_LISTS = {
    "prompt_ids": pl.Int64, "new_ids": pl.Int64, "kinds": pl.String, "texts": pl.String, "formed": pl.Boolean,
    "problems": pl.String,
}  # fmt: skip
SCHEMA: dict[str, Any] = columns(tables.Answers) | {name: pl.List(inner) for name, inner in _LISTS.items()}
NO_ROOM = "the prompt leaves no room in the context"


def graded(item: Item, said: Said, codec: Codec, arm: Arm) -> dict[str, Any]:
    """A row of `tables.Answers`: the answer line alone is looked at, and an answer that cannot be read is invalid.

    Raises:
        DataError: the item's gold answer is none of its choices.
    """
    parsed = codec.parse(_ended(said, codec))
    gold = answers.canonical(item.trace.answer or "", item.choices)
    answer = answers.read(parsed.answer, item.choices)
    return {
        "arm": arm, "dataset": item.dataset, "split": item.split, "id": item.id, "question": item.trace.question,
        "gold": gold, "prompt_ids": codec.prompt(item.trace.question), "new_ids": said.new_ids,
        "text": codec.text(said.new_ids), "kinds": [step.kind for step in parsed.steps],
        "texts": [step.text for step in parsed.steps], "formed": list(parsed.formed),
        "problems": list(parsed.problems) if said.new_ids else [NO_ROOM],
        "answer": answer, "status": "invalid" if answer is None else "ok", "correct": answer == gold,
        "finish": said.finish, "block_tokens": sum(codec.owner(token) is not None for token in said.new_ids),
        "logprob": said.logprob,
    }  # fmt: skip


def frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Rows of `graded` as a table."""
    return pl.DataFrame(list(rows), schema=SCHEMA)


def _ended(said: Said, codec: Codec) -> list[int]:
    """The ids, ended by the tokenizer's own end-of-text token whichever of the model's ended them."""
    return [*said.new_ids[:-1], codec.eos] if said.finish == "eos" else said.new_ids
