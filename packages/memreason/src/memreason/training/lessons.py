"""From items to what is learnt: rendered under an arm, all of it inside the context, and what was left out counted."""

from collections.abc import Sequence
from typing import NamedTuple

from runkit.errors import DataError, nearest

from memreason import answers, arms
from memreason.codec import Codec, Rendered
from memreason.options import TrainOptions
from memreason.trace import KINDS, Item
from memreason.unwritable import unwritable

_TOLD = ("hard", "random", "shuffled", "typed")
"""Arms that write kinds of steps as the data has them, or in their manner."""


class Lessons(NamedTuple):
    """What a training reads. `empty`, `long`: traces left out for want of steps, or (texts too) as they do not fit;
    `unwritable`: names of those traces and texts that are read with words missing."""

    traces: list[Rendered]
    texts: list[Rendered]
    empty: int = 0
    long: int = 0
    unwritable: tuple[str, ...] = ()

    @property
    def longest_answer(self) -> int:
        """Tokens after the prompt."""
        return max(len(each.ids) - each.prompt for each in self.traces)


def lessons(
    rows: Sequence[Item], texts: Sequence[str], codec: Codec, context: int | None, options: TrainOptions
) -> Lessons:
    """The items of a split and the texts beside them, as ids; for arm `planned` the items have its kinds already.

    Raises:
        DataError: an unknown kind, an answer that is none of the choices; a trace or text that does not fit the
            context, unless those are to be left out; nothing is left. Names the first.
    """
    told = [row for row in rows if row.trace.steps]
    traces = _fitting([(row.id, render(row, codec, options)) for row in told], context, options)
    plain = _fitting([(f"text {n}", codec.plain(text)) for n, text in enumerate(texts)], context, options)
    if not traces:
        raise DataError(
            f"none of {len(rows)} traces can be learnt from: {len(rows) - len(told)} have no steps, "
            f"{len(told)} do not fit the model's context of {context} tokens"
        )
    long = len(told) + len(texts) - len(traces) - len(plain)
    lost = unwritable(codec, ((name, each.ids) for name, each in (*traces, *plain)))
    read = [each for _, each in traces], [each for _, each in plain]
    return Lessons(*read, len(rows) - len(told), long, tuple(lost))


def render(row: Item, codec: Codec, options: TrainOptions) -> Rendered:
    """An item under the arm. Raises DataError, which names the item."""
    if options.arm in _TOLD:
        for number, kind in enumerate(row.trace.kinds(), 1):
            if kind not in KINDS:
                raise DataError(f"{row.id}: step {number}: unknown kind {kind!r}; {nearest(kind, KINDS)}")
    gold(row)
    try:
        return codec.render(arms.dressed(row.trace, options.arm, row.id, options.seed))
    except DataError as error:
        raise DataError(f"{row.id}: {error}") from None


def gold(row: Item) -> str:
    """An item's answer in the spelling of its choices. Raises DataError, which names the item."""
    try:
        return answers.canonical(row.trace.answer or "", row.choices)
    except DataError as error:
        raise DataError(f"{row.id}: {error}") from None


def _fitting(
    found: list[tuple[str, Rendered]], context: int | None, options: TrainOptions
) -> list[tuple[str, Rendered]]:
    long = [(name, len(each.ids)) for name, each in found if context is not None and len(each.ids) > context]
    if long and options.too_long == "error":
        raise DataError(
            f"{long[0][0]}: its {long[0][1]} tokens do not fit the model's context of {context} ({len(long)} such in "
            "all): --too-long skip leaves them out"
        )
    return [(name, each) for name, each in found if context is None or len(each.ids) <= context]
