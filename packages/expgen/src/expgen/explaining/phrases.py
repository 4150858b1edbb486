"""Descriptions in a fixed form, which people and programs can both read: `fires on "is" after "sum"`.

    [fires on] SUBJECT [PLACE TOKENS] [, and weakly on TOKENS] [; promotes TOKENS]

    SUBJECT   TOKENS, a kind of token (`KINDS`), `the token` or `every token`
    PLACE     after (the token right before it), two places after, or somewhere after (any token before it)
    TOKENS    "red", "blue" and "green": in double quotes and escaped as in JSON, strongest first

A quoted string stands for the tokens that say it, white space around them aside; with white space of its own it stands
for just that token.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

Tokens = Sequence[str]
_SIGNS = frozenset("+-*/=<>^%×÷−≤≥≠±")
_ENDS, _CLOSING = (".", "!", "?", "\n"), " \t\"')”’"
WEAK = 0.5
"""Weight of the tokens that a feature fires on weakly."""


def _is_special(words: Tokens, at: int) -> bool:
    return not words[at]  # BOS and the like are no part of the text


def _is_number(words: Tokens, at: int) -> bool:
    return any(c.isdigit() for c in words[at]) and not any(c.isalpha() for c in words[at])


def _is_punctuation(words: Tokens, at: int) -> bool:
    said = words[at].strip()
    return bool(said) and not any(c.isalnum() for c in said)


def _is_sign(words: Tokens, at: int) -> bool:
    said = words[at].strip()
    return bool(said) and set(said) <= _SIGNS


def _is_capitalised(words: Tokens, at: int) -> bool:
    said = words[at].strip()
    return said[:1].isupper() and not said[1:].isupper()


def _is_in_capitals(words: Tokens, at: int) -> bool:
    said = words[at].strip()
    return len(said) > 1 and said.isupper()


def _breaks_line(words: Tokens, at: int) -> bool:
    return "\n" in words[at]


def _begins_text(words: Tokens, at: int) -> bool:
    return bool(words[at].strip()) and not any(word.strip() for word in words[:at])


def _begins_sentence(words: Tokens, at: int) -> bool:
    if not words[at].strip(_CLOSING + "\n"):
        return False
    before = next((said for word in reversed(words[:at]) if (said := word.strip(_CLOSING))), "\n")
    return before.endswith(_ENDS)


KINDS: dict[str, Callable[[Tokens, int], bool]] = {
    "special tokens": _is_special,
    "the first token of the text": _begins_text,
    "the first token of a sentence": _begins_sentence,
    "line breaks": _breaks_line,
    "numbers": _is_number,
    "signs of arithmetic": _is_sign,
    "punctuation": _is_punctuation,
    "words in capitals": _is_in_capitals,
    "capitalised words": _is_capitalised,
}
"""What a kind of token is, narrower kinds first: is the token at this place of the text one of them?"""

PLACES = {"after": 1, "two places after": 2, "somewhere after": 0}
"""How many tokens back a place is; 0: anywhere before."""

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_LIST = rf"{_QUOTED}(?:, {_QUOTED})*(?: and {_QUOTED})?"
_FORM = re.compile(
    rf"(?:fires on )?(?:(?P<on>{_LIST})|(?P<kind>{'|'.join(KINDS)})|(?:the|every) token)"
    rf"(?: (?P<place>{'|'.join(PLACES)}) (?P<of>{_LIST}))?"
    rf"(?:, and weakly on (?P<weakly>{_LIST}))?(?:; promotes (?P<promotes>{_LIST}))?\.?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Phrase:
    """One description; `str()` writes it.

    Attributes:
        on: tokens it fires on; none: those of `kind` or, without a kind, every token.
        kind: one of `KINDS`.
        place, of: one of `PLACES`, and the tokens that have to stand there.
        weakly: tokens it fires on weakly (in that place too).
        promotes: tokens it makes likelier; says nothing about where it fires.
    """

    on: tuple[str, ...] = ()
    kind: str = ""
    place: str = ""
    of: tuple[str, ...] = ()
    weakly: tuple[str, ...] = ()
    promotes: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = f"fires on {_listed(self.on) or self.kind or ('the token' if PLACES.get(self.place) else 'every token')}"
        said += f" {self.place} {_listed(self.of)}" if self.of else ""
        said += f", and weakly on {_listed(self.weakly)}" if self.weakly else ""
        return said + (f"; promotes {_listed(self.promotes)}" if self.promotes else "")

    def weights(self, words: Tokens) -> list[float]:
        """How strongly it fires at each token, 0 to 1. `words`: the text's slices, their white space included."""
        return [self._weight(words, at) if stands else 0.0 for at, stands in enumerate(self._placed(words))]

    def _weight(self, words: Tokens, at: int) -> float:
        if _says(words[at], self.weakly):
            return WEAK
        if self.on:
            return float(_says(words[at], self.on))
        return float(not self.kind or KINDS[self.kind](words, at))

    def _placed(self, words: Tokens) -> list[bool]:
        """Of each token, whether what has to stand before it does."""
        if not self.of:
            return [True] * len(words)
        said = [_says(word, self.of) for word in words]
        if back := PLACES[self.place]:
            return [False] * min(back, len(words)) + said[:-back]
        first = said.index(True) if True in said else len(words)
        return [at > first for at in range(len(words))]


@lru_cache(maxsize=1 << 12)
def parse(text: str) -> Phrase | None:
    """The phrase that a description is; None for one in free words."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        return None
    lists = {name: _read(match[name] or "") for name in ("on", "of", "weakly", "promotes")}
    if any("" in each for each in lists.values()):
        return None
    return Phrase(kind=(match["kind"] or "").lower(), place=(match["place"] or "").lower(), **lists)


def words_in(description: str) -> set[str]:
    """What a description in free words names: quoted strings and words that say something, in lower case."""
    quoted = {_unquoted(each).strip().lower() for each in _ANY_QUOTED.findall(description)} - {""}
    free = [_ANY_QUOTED.sub(" ", description), *(each for each in quoted if " " in each)]
    return quoted | ({word.lower() for text in free for word in _WORD.findall(text)} - _STOP)


def _says(word: str, wanted: Sequence[str]) -> bool:
    return word in wanted or word.strip() in wanted


def _listed(tokens: Sequence[str]) -> str:
    quoted = [json.dumps(token, ensure_ascii=False) for token in tokens]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _read(listed: str) -> tuple[str, ...]:
    return tuple(_unquoted(each) for each in re.findall(_QUOTED, listed))


def _unquoted(quoted: str) -> str:
    try:
        return json.loads(quoted, strict=False)
    except json.JSONDecodeError:  # curly quotes, or a backslash that JSON does not know
        return quoted[1:-1]


_ANY_QUOTED = re.compile(rf"{_QUOTED}|“[^”]*”")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_FILLER = """
a about after again all also an and any anything appear appearing appears are as at be because been before being
both but by can context contexts could did do does each either every for from had has have having he her his how i
if in inside into is it its itself like may more most much never no nor not of often on one only or other our out
over own particularly per same she should since so some something somewhere such than that the their them then
there these they this those through to too under until up upon us use used usually very was we were what when where
whether which while who whose will with within without would you your
activate activates activating activation active excerpt excerpts especially feature features fire fires firing
following mention mentions neuron neurons occurrence occurrences phrase phrases preceding related respond responds
sentence sentences similar strong strongly text texts token tokens weak weakly word words
"""
_STOP = frozenset(_FILLER.split())
