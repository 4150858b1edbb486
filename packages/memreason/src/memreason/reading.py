"""Token ids that a model wrote, read back as steps and an answer; what is not well-formed is said."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

from memreason.scheme import ANSWER, GENERAL, MARKER
from memreason.trace import Step

if TYPE_CHECKING:
    from memreason.codec import Codec

Part = Literal["question", "general", "kind", "text", "answer", "end"]


class Mark(NamedTuple):
    """A stretch of tokens, `start` to before `end`, and what it is: `kind` are a block's special tokens, before a step
    or the answer; `answer` the answer line. `step`: number of the step, -1 for question and answer."""

    start: int
    end: int
    part: Part
    step: int


class Parsed(NamedTuple):
    """What a model wrote. `problems`: what is not as it should be, in words, () for a well-formed chain; `formed`: for
    each step, whether the block before it is whole. `marks` count from the first id that was parsed."""

    steps: tuple[Step, ...]
    answer: str | None
    formed: tuple[bool, ...]
    problems: tuple[str, ...]
    marks: tuple[Mark, ...]


def read(codec: "Codec", ids: Sequence[int]) -> Parsed:
    """See `Codec.parse`."""
    ended = codec.eos in ids
    body = list(ids[: ids.index(codec.eos)] if ended else ids)
    parsed = (_Tokens if codec.new_ids else _Lines)(codec, body).read()
    if ended:
        return parsed._replace(marks=(*parsed.marks, Mark(len(body), len(body) + 1, "end", -1)))
    return parsed._replace(problems=(*parsed.problems, "it does not end"))


class _Reader:
    """Collects what is read of one chain."""

    def __init__(self, codec: "Codec", ids: list[int]) -> None:
        self.codec, self.ids = codec, ids
        self.steps: list[Step] = []
        self.formed: list[bool] = []
        self.problems: list[str] = []
        self.marks: list[Mark] = []
        self.answer: str | None = None

    def done(self) -> Parsed:
        if self.answer is None:
            self.problems.append("there is no answer")
        return Parsed(tuple(self.steps), self.answer, tuple(self.formed), tuple(self.problems), tuple(self.marks))

    def add(self, kind: str, text: str, formed: bool) -> None:
        number = len(self.steps) + 1
        if self.answer is not None:
            self.problems.append(f"step {number} comes after the answer")
        if not text:
            self.problems.append(f"step {number} is empty")
        if "\n" in text:
            self.problems.append(f"step {number} has several lines")
        self.steps.append(Step(kind, text))
        self.formed.append(formed)

    def end_with(self, text: str) -> None:
        self.answer = text.removeprefix(MARKER).strip() or None


class _Tokens(_Reader):
    """Steps are what stands between blocks of the scheme's tokens."""

    def read(self) -> Parsed:
        runs = [
            (new, [at for at, _ in group])
            for new, group in groupby(enumerate(self.ids), key=lambda each: self.codec.owner(each[1]) is not None)
        ]
        if runs and not runs[0][0]:
            runs.insert(0, (True, []))  # text before the first block
        for (_, block), (_, text) in zip(runs[::2], [*runs[1::2], (False, list[int]())][: len(runs[::2])], strict=True):
            self._segment(block, text)
        return self.done()

    def _segment(self, block: list[int], text: list[int]) -> None:
        line = self.codec.text([self.ids[at] for at in text]).strip()
        said = self._said(block, line)
        number = -1 if said == ANSWER else len(self.steps)
        whole = [self.ids[at] for at in block] == list(self.codec.block(said))
        formed = bool(block) and whole and bool(said or not self.codec.scheme.special)
        if not formed:
            place = "the answer" if number < 0 else f"step {number + 1}"
            self.problems.append(f"the block before {place} is not whole")
        self._mark(block, text, number)
        if said != ANSWER:
            self.add(said, line, formed)
        elif line.startswith(MARKER):
            self.end_with(line)
        else:
            self.problems.append(f"the answer line does not begin with {MARKER!r}")

    def _said(self, block: list[int], line: str) -> str:
        """Whose block it is by its first special token; where there are none, the marker tells the answer."""
        owners = (self.codec.owner(self.ids[at]) for at in block)
        own = next((each for each in owners if each not in (None, GENERAL)), None)
        return own or (ANSWER if not self.codec.scheme.special and line.startswith(MARKER) else "")

    def _mark(self, block: list[int], text: list[int], number: int) -> None:
        general = [at for at in block if self.codec.owner(self.ids[at]) == GENERAL]
        special = [at for at in block if self.codec.owner(self.ids[at]) != GENERAL]
        parts: list[tuple[Part, list[int]]] = [
            ("general", general), ("kind", special), ("answer" if number < 0 else "text", text)
        ]  # fmt: skip
        self.marks += [Mark(at[0], at[-1] + 1, part, number) for part, at in parts if at]


class _Lines(_Reader):
    """Steps are lines; the answer is the line that begins with the marker."""

    def read(self) -> Parsed:
        start = 0
        ends = [at + 1 for at, token in enumerate(self.ids) if token in self.codec.newlines]
        for end in [*ends, len(self.ids)]:
            self._line(start, end)
            start = end
        return self.done()

    def _line(self, start: int, end: int) -> None:
        line = self.codec.text(self.ids[start:end]).strip()
        if not line:
            return
        if line.startswith(MARKER):
            self.marks.append(Mark(start, end, "answer", -1))
            self.end_with(line)
            return
        kind = next((each for each in self.codec.scheme.kinds if line.startswith(f"[{each}]")), "")
        tagged = self.codec.scheme.tags
        if tagged and not kind:
            self.problems.append(f"step {len(self.steps) + 1} has no tag")
        self.marks.append(Mark(start, end, "text", len(self.steps)))
        self.add(
            kind if tagged else "", line.removeprefix(f"[{kind}]").strip() if tagged else line, not tagged or bool(kind)
        )
