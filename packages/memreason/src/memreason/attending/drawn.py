"""Gold traces as a student would have written them, with what each of their tokens is."""

from random import Random
from typing import Literal, NamedTuple, Protocol

import actkit
from runkit import StageRun
from runkit.errors import DataError, UsageError

from memreason import arms
from memreason.codec import Codec, Rendered
from memreason.data import Data
from memreason.scheme import ANSWER, GENERAL
from memreason.student import Student
from memreason.trace import KINDS, Item, Trace

START, QUESTION = "start", "question"


class Asked(Protocol):
    """What the options of a stage say of the traces it draws."""

    @property
    def splits(self) -> tuple[str, ...]: ...
    @property
    def limit(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def too_long(self) -> Literal["error", "skip"]: ...


class Drawn(NamedTuple):
    """A gold trace in a student's scheme.

    `classes`: of each token: start (the first one, where attention rests that has nowhere to go), question, general,
    the name of a kind (its special tokens or its tag), answer (the answer's), memory text and reason text (of steps
    that are gold so, whatever the arm calls them), answer text, and "" for the end of the text.
    """

    item: Item
    rendered: Rendered
    classes: tuple[str, ...]

    def positions(self, step: int) -> list[int]:
        """Where the text of a step stands, without its block or tag."""
        return [at for at in self._span(step, "text") if self.classes[at].endswith(" text")]

    def block(self, step: int) -> range:
        """Where the special tokens before a step stand."""
        return self._span(step, "kind")

    def _span(self, step: int, part: str) -> range:
        marks = self.rendered.marks
        return next((range(m.start, m.end) for m in marks if m.part == part and m.step == step), range(0))


def drawn(data: Data, student: Student, options: Asked) -> list[Drawn]:
    """Traces with steps, drawn at random, in the order of their table.

    Raises:
        UsageError: there is no such split, or the arm's kinds are not in the data.
        DataError: no trace has steps; a step is of an unknown kind.
    """
    if student.scheme.arm == "planned":
        raise UsageError(
            f"--model {student.name}: the kinds of arm planned are clusters, which gold traces do not have"
        )
    there = data.annotated(*options.splits)
    picked = sorted(Random(options.seed).sample(range(len(there)), min(options.limit, len(there))))
    return [_drawn(there[number], student.codec, options.seed) for number in picked]


def fitting(run: StageRun, found: list[Drawn], model: actkit.Model, options: Asked) -> list[Drawn]:
    """The traces that fit the model's context; how many do not is told, and metric `too_long`.

    Raises:
        DataError: one does not fit, unless those are to be left out; none does.
    """
    long = model.too_long([each.rendered.ids for each in found])
    run.metrics({"too_long": len(long)})
    if long and (options.too_long == "error" or len(long) == len(found)):
        first = found[long[0]]
        raise DataError(
            f"{len(long)} of {len(found)} traces do not fit the context of {model.context} tokens; the first is "
            f"{first.item.id!r} with {len(first.rendered.ids)}"
            + (": --too-long skip leaves them out" if len(long) < len(found) else "")
        )
    if long:
        run.log(f"left out: {len(long):,} of {len(found):,} traces, longer than the context of {model.context} tokens")
    return [each for number, each in enumerate(found) if number not in set(long)]


def names(found: list[Drawn], codec: Codec) -> list[str]:
    """The classes that there are, in the order in which they stand in a trace."""
    order = [START, QUESTION, GENERAL, *codec.scheme.kinds, ANSWER, *(f"{kind} text" for kind in (*KINDS, ANSWER))]
    there = {name for each in found for name in each.classes}
    return [name for name in dict.fromkeys(order) if name in there]


def _drawn(item: Item, codec: Codec, seed: int) -> Drawn:
    for number, kind in enumerate(item.trace.kinds(), 1):
        if kind not in KINDS:
            raise DataError(f"{item.id}: step {number}: unknown kind {kind!r}; it must be {' or '.join(KINDS)}")
    told = arms.dressed(item.trace, codec.scheme.arm, item.id, seed)
    try:
        rendered = codec.render(told)
    except DataError as error:
        raise DataError(f"{item.id}: {error}") from None
    return Drawn(item, rendered, tuple(_classes(item, told, rendered, codec)))


def _classes(item: Item, told: Trace, rendered: Rendered, codec: Codec) -> list[str]:
    found = [""] * len(rendered.ids)
    for mark in rendered.marks:
        tag = 0
        kind = told.steps[mark.step].kind if mark.step >= 0 else ANSWER
        name = {"question": QUESTION, "general": GENERAL, "kind": kind, "answer": f"{ANSWER} text", "end": ""}
        if mark.part == "text":
            tag = _tag(rendered.ids[mark.start : mark.end], kind, codec)
            name["text"] = f"{item.trace.steps[mark.step].kind} text"
        whole = [kind] * tag + [name[mark.part]] * (mark.end - mark.start - tag)
        found[mark.start : mark.end] = whole
    found[0] = START
    return found


def _tag(ids: list[int], kind: str, codec: Codec) -> int:
    """How many tokens of a line write its tag."""
    if not codec.scheme.tags:
        return 0
    tag = f"[{kind}]"
    found = next((n for n in range(1, len(ids)) if codec.text(ids[:n]).strip().startswith(tag)), None)
    if found is None:
        raise DataError(f"the tokenizer cannot write the tag {tag}: it reads {codec.text(ids)!r}")
    return found
