"""From replies to the tables `answers` and `comparison`: shares with their intervals, beside what others reached."""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import sqrt
from typing import Any

import polars as pl
from llmkit import Reply
from runkit.tables import columns

from grokked_reasoning import tables
from grokked_reasoning.baselines.knowledge import Asked
from grokked_reasoning.baselines.parsing import LABELS, verdict
from grokked_reasoning.baselines.prompts import Said, Teller
from grokked_reasoning.baselines.published import ASKED, PUBLISHED, SOURCE

OUTCOMES = ("correct", "wrong", "cannot decide", "invalid")
_Z = 1.959964  # of a 95 % interval


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Ends of the 95 % interval of a share (Wilson 1927); everything where nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, _Z**2
    middle, half = share + z2 / (2 * n), _Z * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z2 / n)), min(1.0, (middle + half) / (1 + z2 / n))


def answers(teller: Teller, asked: Sequence[Asked], replies: dict[str, Reply]) -> pl.DataFrame:
    """The table `answers`: one row per question."""
    keys = [question.key for question in teller.questions(list(asked))]
    rows = [_answer(teller, each, replies[key]) for key, each in zip(keys, asked, strict=True)]
    return pl.DataFrame(rows, columns(tables.Answers))


def _answer(teller: Teller, asked: Asked, reply: Reply) -> dict[str, Any]:
    """A reply that is not in the form asked for is read as it came: its words count, the form is but packing."""
    first, second = teller.names(asked)
    text = reply.value.reply if isinstance(reply.value, Said) else reply.text
    said = None if reply.status == "error" else verdict(text, thought=teller.answer == "cot")
    gold = LABELS[asked.gold]
    outcome = "error" if said is None else said if said in OUTCOMES else "correct" if said == gold else "wrong"
    return {
        "row": asked.row, "attribute": asked.attribute, "first": asked.first, "second": asked.second,
        "first_name": first, "second_name": second, "facts": len(teller.told(asked)), "gold": gold,
        "status": reply.status, "text": text, "said": said, "outcome": outcome, "error": reply.error,
    }  # fmt: skip


def counts(table: pl.DataFrame) -> dict[str, int]:
    """How many answers came out how; what was not answered is left out."""
    found = Counter(table["outcome"])
    return {name: found[name] for name in OUTCOMES}


def comparison(model: str, teller: Teller, table: pl.DataFrame, grokked: tuple[str, int, float] | None) -> pl.DataFrame:
    """The table `comparison`: this run, a grokked model (name, questions, accuracy), chance, the published."""
    rows = [_row("this run", model, teller.context, teller.answer, counts(table))]
    if grokked:
        name, n, accuracy = grokked
        right = round(accuracy * n)
        rows.append(_row("grokked model", name, None, "direct", {"correct": right, "wrong": n - right}))
    rows += [
        _line("chance", "one of the three labels, at random", None, "direct", None, {"correct": 1 / len(LABELS)}),
        _line("chance", "the most frequent label", None, "direct", None, {"correct": _most_frequent(table)}),
        *_published(),
    ]
    return pl.DataFrame(rows, columns(tables.Comparison))


def _most_frequent(table: pl.DataFrame) -> float:
    """Share of the label that most questions have."""
    return Counter(table["gold"]).most_common(1)[0][1] / len(table)


def _published() -> Iterator[dict[str, Any]]:
    for each in PUBLISHED:
        told = {"correct": each.correct, "cannot decide": each.cannot_decide, "invalid": each.invalid}
        known = {name: count for name, count in told.items() if count is not None}
        if len(known) == len(told):
            known["wrong"] = ASKED - sum(known.values())
        yield _row("published", each.system, each.context, each.answer, known, ASKED) | {"source": SOURCE}


def _row(
    kind: str, system: str, context: str | None, answer: str, known: dict[str, int], n: int | None = None
) -> dict[str, Any]:
    """A row of counts; `n`: questions, where not all of them are counted."""
    n = sum(known.values()) if n is None else n
    low, high = wilson(known["correct"], n)
    shares = {name: count / n for name, count in known.items()} if n else {}
    return _line(kind, system, context, answer, n, shares) | {"correct_low": low, "correct_high": high}


def _line(
    kind: str, system: str, context: str | None, answer: str, n: int | None, shares: dict[str, float]
) -> dict[str, Any]:
    told = {name.replace(" ", "_"): shares.get(name) for name in OUTCOMES}
    return {"kind": kind, "system": system, "context": context, "answer": answer, "n": n, "correct_low": None,
            "correct_high": None, "source": None, **told}  # fmt: skip
