"""The form of an answer, token by token: which ids may come next, given the ids that are there."""

from collections import deque
from collections.abc import Iterable
from itertools import takewhile
from typing import NamedTuple

from memreason.codec import Codec
from memreason.scheme import ANSWER, MARKER
from memreason.steering.rules import Rules, told
from memreason.trace import MEMORY

_AFTER = ("Paris", "a fact", "the", "7", "B", "yes")
"""What may stand after a tag or the marker: tokens that all of these share are the tag's own."""


class Choice(NamedTuple):
    """The next token is one of these ids, or (not `only`) any but these."""

    ids: frozenset[int]
    only: bool

    @property
    def forced(self) -> int | None:
        """The one id there is to choose from, if so."""
        return next(iter(self.ids)) if self.only and len(self.ids) == 1 else None


class Grammar:
    """What all answers of a student have in common.

    A line opens with the block of its kind, its tag, or nothing; it ends with a newline; the last one is the answer
    line, after which the text ends.

    Attributes:
        openings: owner of a line -> the ids it opens with; a kind, `answer`, or "" where lines do not say their kind.
        silent: ids that are no part of a line's text.
    """

    def __init__(self, codec: Codec, ends: Iterable[int]) -> None:
        """`ends`: all ids that end a text of this model."""
        self.codec = codec
        self.kinds = told(codec.scheme)
        marker = self._shared(MARKER)
        if codec.scheme.tags:
            self.openings = {kind: self._shared(f"[{kind}]") for kind in self.kinds} | {ANSWER: marker}
        elif self.kinds:
            self.openings = {kind: codec.block(kind) for kind in self.kinds} | {ANSWER: codec.block(ANSWER) + marker}
        else:
            self.openings = {"": codec.block("")}
        broken = (i for i in range(len(codec.tokenizer)) if "\n" in codec.text([i]).rstrip("\n"))
        self.silent = frozenset([*codec.new_ids, *ends, codec.eos, *broken])

    def line(self, owner: str, text: str) -> tuple[int, ...]:
        """Ids of a step's line after its opening."""
        if not self.codec.scheme.tags:
            return tuple(self.codec.line(text))
        opening, whole = self.openings[owner], tuple(self.codec.line(f"[{owner}] {text}"))
        if whole[: len(opening)] == opening:
            return whole[len(opening) :]
        return tuple(self.codec.line(f" {text}"))  # the tag's last token would reach into such a text

    def answers(self, owner: str, line: list[int]) -> bool:
        """Whether a finished line is the answer line."""
        return owner == ANSWER or (not owner and self.codec.text(line).strip().startswith(MARKER))

    def _shared(self, words: str) -> tuple[int, ...]:
        """Ids of words at the start of a line, whatever stands after them."""
        lines = [self.codec.line(f"{words} {after}") for after in _AFTER]
        return tuple(ids[0] for ids in takewhile(lambda ids: len(set(ids)) == 1, zip(*lines, strict=False)))


class Writer:
    """One answer on its way. Ask `allowed`, then tell `take` which id was chosen."""

    def __init__(self, grammar: Grammar, rules: Rules) -> None:
        self.grammar, self.rules = grammar, rules
        self.steps: list[str] = []
        self.done = False
        self._supplied = deque(rules.supplied)
        self._queue: deque[int] = deque()
        self._start_line()

    def allowed(self) -> Choice:
        """What the next token may be."""
        if self.done:
            return Choice(frozenset([self.grammar.codec.eos]), only=True)
        if self._queue:
            return Choice(frozenset([self._queue[0]]), only=True)
        if self._owner is None:
            return Choice(frozenset(self.grammar.openings[each][len(self._path)] for each in self._able), only=True)
        return Choice(self.grammar.silent | (frozenset() if self._line else self.grammar.codec.newlines), only=False)

    def take(self, token: int) -> None:
        """The token that was chosen."""
        if self.done:
            return
        if self._owner is None:
            self._path.append(token)
            self._able = [each for each in self._able if self.grammar.openings[each][len(self._path) - 1] == token]
            self._open()
            return
        if self._queue:
            self._queue.popleft()
        self._line.append(token)
        if token in self.grammar.codec.newlines:
            self.done = self.grammar.answers(self._owner, self._line)
            self._start_line()

    def _start_line(self) -> None:
        self._path: list[int] = []
        self._line: list[int] = []
        self._owner: str | None = None
        self._able = self._owners()
        self._open()

    def _open(self) -> None:
        """The line's owner is known when the whole of its opening is there."""
        self._owner = next((each for each in self._able if len(self.grammar.openings[each]) == len(self._path)), None)
        if self._owner is None or self._owner == ANSWER:
            return
        self.steps.append(self._owner)
        if self._supplied and (self._owner == MEMORY or MEMORY not in self.grammar.kinds):
            self._queue.extend(self.grammar.line(self._owner, self._supplied.popleft()))

    def _owners(self) -> list[str]:
        """Whose line may come now."""
        if not self.grammar.kinds:
            return [""]
        if len(self.steps) < len(self.rules.force):
            return [self.rules.force[len(self.steps)]]
        free = [kind for kind in self.grammar.kinds if self._is_free(kind)]
        return free if free and self._supplied else [*free, ANSWER]

    def _is_free(self, kind: str) -> bool:
        cap = self.rules.caps.get(kind)
        return kind not in self.rules.forbid and (cap is None or self.steps.count(kind) < cap)
