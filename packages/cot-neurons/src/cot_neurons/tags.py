"""What each token of a chain of thought is: text, operand, operator, equals, result, answer, or after the answer.

Tags come from the text, by character spans, so they mean the same for every tokenizer.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from cot_neurons.answers import stated_answer
from cot_neurons.equations import Part, equations

TAGS = ("text", "operand", "operator", "equals", "result", "answer", "after_answer")
KINDS = ("text", "operand", "+", "-", "*", "/", "equals", "result", "answer", "after_answer")
"""Tags with the operators told apart."""
_UNFINISHED = "\ufffd"  # what decoders show for a character some of whose bytes are still to come
_MAX_PENDING = 4  # a UTF-8 character has at most four bytes, hence at most four tokens


def spans(text: str) -> list[Part]:
    """The tagged spans of a text in order, apart from each other; whatever they leave out is plain text.

    The stated answer wins over the result of an equation, and everything behind it is `after_answer`.
    """
    answer = stated_answer(text)
    end = answer.start if answer else len(text)
    found = [part for equation in equations(text) for part in equation.parts if part.start < end]
    if answer:
        found += [Part(answer.start, answer.end, "answer"), Part(answer.end, len(text) + 1, "after_answer")]
    return found


def tag(pieces: Iterable[str]) -> list[str]:
    """One tag per token, given each token's own text; joined, the pieces are the chain.

    A token that reaches into several spans takes the first one's tag; an empty piece (a byte of a character that later
    tokens complete, or a special token) takes the tag of the place where it stands.
    """
    pieces = list(pieces)
    marked = spans("".join(pieces))
    tags: list[str] = []
    at = start = 0
    for piece in pieces:
        end = max(start + len(piece), start + 1)
        while at < len(marked) and marked[at].end <= start:
            at += 1
        tags.append(marked[at].tag if at < len(marked) and marked[at].start < end else "text")
        start += len(piece)
    return tags


class Pieces:
    """Cuts token ids into the text each token adds, for any tokenizer that can decode.

    Decoding goes on from the piece before, so that SentencePiece keeps its spaces, and waits for characters whose bytes
    are spread over several tokens: the last of these tokens gets the character, the others an empty piece.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._decode: Callable[[tuple[int, ...]], str] = lru_cache(maxsize=1 << 16)(
            lambda ids: tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    def __call__(self, ids: Sequence[int]) -> list[str]:
        """One piece per id; joined, they are the decoded text, less a last character that was left unfinished.

        Bytes that are no UTF-8 show as U+FFFD.
        """
        ids = tuple(ids)
        pieces: list[str] = []
        before = done = 0  # ids[before:done] are the context, ids[done:] wait for their text
        for end in range(1, len(ids) + 1):
            context, both = self._decode(ids[before:done]), self._decode(ids[before:end])
            new = both[len(context) :] if len(both) > len(context) else ""
            if new.endswith(_UNFINISHED) and end - done < _MAX_PENDING:
                new = ""
            pieces.append(new)
            if new or end - done >= _MAX_PENDING:
                before, done = done, end
        return pieces
