"""Between traces and token ids, both ways. Rendered by ids, piece by piece: text is never searched for tokens."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any, NamedTuple

from runkit.errors import DataError, UsageError
from transformers import PreTrainedTokenizerBase

from memreason.reading import Mark, Parsed, Part, read
from memreason.scheme import ANSWER, GENERAL, MARKER, TokenScheme
from memreason.trace import Step, Trace

IGNORED = -100
_QUESTION = "Question: "
_PLACE = "question-stands-HERE"


class Rendered(NamedTuple):
    """`ids` of a whole trace; the first `prompt` of them are what is put in."""

    ids: list[int]
    prompt: int
    marks: tuple[Mark, ...]

    @property
    def labels(self) -> list[int]:
        """The ids, -100 over just the prompt."""
        return [IGNORED] * self.prompt + self.ids[self.prompt :]


class Codec:
    """A tokenizer that knows a scheme.

    Attributes:
        tokenizer: a copy of the one given, with the scheme's tokens; to be saved with the model.
        new_ids: of the scheme's tokens, in its order. eos: the id that ends a trace.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, scheme: TokenScheme) -> None:
        """Raises UsageError: the tokenizer has no end-of-text token, no chat template, or no way to write a newline."""
        self.scheme: TokenScheme = scheme
        self.tokenizer: Any = deepcopy(tokenizer)
        if scheme.tokens:
            self.tokenizer.add_tokens(list(scheme.tokens), special_tokens=True)
        self.new_ids: list[int] = self.tokenizer.convert_tokens_to_ids(list(scheme.tokens)) if scheme.tokens else []
        if self.tokenizer.eos_token_id is None:
            raise UsageError(
                "the tokenizer has no end-of-text token (eos_token), so a chain would never end: give it one"
            )
        if scheme.chat and not getattr(self.tokenizer, "chat_template", None):
            raise UsageError("--chat: the tokenizer has no chat template; leave --chat out")
        if "\n" not in self.text(self._encode("a\nb")):
            raise UsageError("the tokenizer cannot write a newline, which ends each step: use another tokenizer")
        self.eos: int = self.tokenizer.eos_token_id
        self._blocks = {owner: tuple(self._ids_of(scheme.block(owner))) for owner in self._owners}
        self._owner = {token: owner for owner, block in self._blocks.items() for token in block}

    @cached_property
    def _template(self) -> tuple[list[int], list[int]]:
        """Ids of the chat template before and after a question: only these may be special, whatever is asked.

        Raises:
            UsageError: the template does not put the question in as it is, once.
        """
        message = [{"role": "user", "content": _PLACE}]
        told: str = self.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        parts = told.split(_PLACE)
        if len(parts) != 2:
            raise UsageError("--chat: the chat template does not put a question in as it is, once; leave --chat out")
        before, after = (self.tokenizer(part, add_special_tokens=False)["input_ids"] for part in parts)
        return before, after

    @property
    def _owners(self) -> tuple[str, ...]:
        return (GENERAL, *self.scheme.kinds, ANSWER)

    @cached_property
    def newlines(self) -> frozenset[int]:
        """Ids of the tokens after which a line is over."""
        return frozenset(i for i in range(len(self.tokenizer)) if i not in self._owner and self._ends_line(i))

    def block(self, owner: str) -> tuple[int, ...]:
        """Ids that stand before a step of a kind, or before the answer: the general ones, then its own."""
        return self._blocks[GENERAL] + self._blocks.get(owner, ())

    def owner(self, token: int) -> str | None:
        """Whose token an id is: `general`, a kind, `answer`; None for text."""
        return self._owner.get(token)

    def prompt(self, question: str) -> list[int]:
        """Ids of a question, with the tokenizer's own special tokens before it; by the chat template where so asked."""
        if self.scheme.chat:
            before, after = self._template
            return [*before, *self._encode(question), *after]
        ids: list[int] = self.tokenizer(f"{_QUESTION}{question}\n", split_special_tokens=True)["input_ids"]
        return ids[:-1] if ids[-1] == self.eos else ids

    def line(self, text: str) -> list[int]:
        """Ids of one line of a step, with its newline."""
        return self._encode(f"{text}\n")

    def plain(self, text: str) -> Rendered:
        """A text that is no trace; all of it is learned, but for the token at its start."""
        ids: list[int] = self.tokenizer(text, split_special_tokens=True)["input_ids"]
        ids = ids if ids[-1] == self.eos else [*ids, self.eos]
        start = int(ids[0] == self.tokenizer.bos_token_id)
        return Rendered(ids, start, (Mark(start, len(ids), "text", -1),))

    def render(self, trace: Trace) -> Rendered:
        """Ids of a whole trace: question, per step its block and line, the answer's block and line, end of text.

        Raises:
            DataError: an unknown kind, a step that is empty, of several lines or like an answer's line, no answer.
        """
        pieces = list(self._pieces(trace))
        ids: list[int] = []
        marks: list[Mark] = []
        for part, step, piece in pieces:
            if piece:
                marks.append(Mark(len(ids), len(ids) + len(piece), part, step))
                ids += piece
        return Rendered(ids, len(pieces[0][2]), tuple(marks))

    def parse(self, ids: Sequence[int]) -> Parsed:
        """What was written after the prompt, read back; ids after the end-of-text token are left out."""
        return read(self, ids)

    def question(self, ids: Sequence[int]) -> str:
        """The question of a prompt that was made without a chat template."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip().removeprefix(_QUESTION.strip()).strip()

    def text(self, ids: Sequence[int]) -> str:
        """The text of some ids, special tokens and all."""
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def _pieces(self, trace: Trace) -> Iterator[tuple[Part, int, list[int]]]:
        yield "question", -1, self.prompt(trace.question)
        for number, step in enumerate(trace.steps):
            yield "general", number, list(self._blocks[GENERAL])
            yield "kind", number, list(self._kind_block(step, number))
            yield "text", number, self.line(self._told(step, number))
        if trace.answer is None:
            raise DataError("a trace without an answer cannot be learned from")
        yield "general", -1, list(self._blocks[GENERAL])
        yield "kind", -1, list(self._blocks[ANSWER])
        yield "answer", -1, self.line(f"{MARKER} {trace.answer}")
        yield "end", -1, [self.eos]

    def _kind_block(self, step: Step, number: int) -> tuple[int, ...]:
        if not self.scheme.special:
            return ()
        if step.kind not in self.scheme.kinds:
            known = ", ".join(self.scheme.kinds)
            raise DataError(f"step {number + 1}: unknown kind {step.kind!r}; this scheme knows {known}")
        return self._blocks[step.kind]

    def _told(self, step: Step, number: int) -> str:
        if not step.text.strip():
            raise DataError(f"step {number + 1} is empty")
        if "\n" in step.text or step.text != step.text.strip():
            raise DataError(f"step {number + 1} is not one line without space around it: {step.text[:60]!r}")
        if step.text.startswith(MARKER):
            raise DataError(f"step {number + 1} begins with {MARKER!r}, as the answer's line does")
        return f"[{step.kind}] {step.text}" if self.scheme.tags else step.text

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def _ids_of(self, names: Sequence[str]) -> list[int]:
        return self.tokenizer.convert_tokens_to_ids(list(names)) if names else []

    def _ends_line(self, token: int) -> bool:
        return self.text([token]).endswith("\n")
