"""The answer that a line states, in the spelling of the choices; what states none, or two, is no answer.

Only what stands after the marker is looked at, never the prompt: a letter that happens to be in a text is no answer.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from runkit.errors import DataError

_LABELLED = re.compile(r"\(?([A-Z])[.):]\s+(.*\S)")
_MARK = re.compile(
    r"(?:(?:option|choice|answer|letter)\s+)?(?:\(([a-z])\)|([a-z])(?:[.):,;]|\s+-|\s+(?=\(|because\b|since\b)|$))\s*(.*)",
    re.I,
)
_OTHER = re.compile(r"\b([A-Z])\b(?!\s+[a-z]|')")  # not the article, nor the pronoun
_REASONED = re.compile(r"[.,;:!]|\s+[-\u2013\u2014(]|\s+(?:because|since)\b")  # after it an answer is explained
_PIECES = re.compile(r"[,.;:/&()?!]|\s-\s|\b(?:and|or)\b")
_AROUND = " \t\n\"'`*_\u201c\u201d\u2018\u2019"
_NUMBER = re.compile(r"([-+\u2212]?)[$\u20ac\u00a3]?\s?((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)\s*(?:%|[^\W\d_]+)?")
_SCALE = re.compile(r"(?:dozen|hundred|thousand|million|billion|trillion|k|m|bn)s?$")
_TRUTH = {"yes": "true", "no": "false"}


class _Choice(NamedTuple):
    """`spelled`: how it is told; `label`: the letter it goes by, "" where it has none; `text`: what it says."""

    spelled: str
    label: str
    text: str


def read(line: str | None, choices: Sequence[str]) -> str | None:
    """The answer that a line states, in the spelling of `choices`; None where it states none of them, or several.

    Case, quotes and a trailing period do not matter; yes is true and no is false. A choice such as `B. bank`, or `B`,
    is told by its letter and goes by it (`B`, `(B)`, `B.`, `Option B`) and by its text. Without choices any answer will
    do: numbers are written alike (`$1,200.0` is `1200`; the unit is left out), words in lower case.

    Args:
        line: what stands after the marker (`Parsed.answer`); None where the marker is missing.
    """
    said = _bare(line or "")
    if not said:
        return None
    if not choices:
        return _normal(said)
    known = [_choice(each) for each in choices]
    return _by_label(said, known) or _by_text(said, known) or _explained(said, known)


def canonical(gold: str, choices: Sequence[str]) -> str:
    """The gold answer as `read` spells it.

    Raises:
        DataError: it is none of the choices.
    """
    found = read(gold, choices)
    if found is None:
        raise DataError(f"answer {gold!r} is none of the choices {', '.join(map(repr, choices)) or '(there are none)'}")
    return found


def _choice(spelled: str) -> _Choice:
    if len(spelled) == 1 and spelled.isalpha():
        return _Choice(spelled, spelled.upper(), "")
    found = _LABELLED.fullmatch(spelled)
    return _Choice(found[1], found[1], found[2]) if found else _Choice(spelled, "", spelled)


def _by_label(said: str, choices: Sequence[_Choice]) -> str | None:
    """The choice whose letter begins the line; what follows must not speak for another one."""
    labels = {each.label: each for each in choices if each.label}
    found = _MARK.fullmatch(said)
    meant = labels.get((found[1] or found[2]).upper()) if found else None
    if found is None or meant is None:
        return _labelled_text(said, choices)
    rest = _bare(found[3].strip("()"))
    if not rest or _alike(rest, meant.text):
        return meant.spelled
    if any(_alike(rest, each.text) for each in choices):
        return None
    others = {letter for letter in _OTHER.findall(rest) if letter in labels}
    return None if others - {meant.label} else meant.spelled


def _labelled_text(said: str, choices: Sequence[_Choice]) -> str | None:
    """`B bank`, without a mark after the letter: only where that is how the choice goes on."""
    found = [each for each in choices if each.label and each.text and _alike(said, f"{each.label} {each.text}")]
    return found[0].spelled if len(found) == 1 else None


def _by_text(said: str, choices: Sequence[_Choice]) -> str | None:
    """The one choice that the whole line says."""
    for same in (_alike, _agree):
        found = [each.spelled for each in choices if same(said, each.text) or same(said, each.spelled)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _explained(said: str, choices: Sequence[_Choice]) -> str | None:
    """The choice that the line begins with, where what follows explains it and names no other."""
    cut = _REASONED.search(said)
    words = [each for each in choices if not each.label]
    first = _by_text(_bare(said[: cut.start()]), words) if cut else None
    if cut is None or first is None:
        return None
    named = {_by_text(piece, words) for piece in _PIECES.split(_plain(said[cut.end() :])) if piece.strip()}
    return None if named - {first, None} else first


def _alike(one: str, other: str) -> bool:
    return bool(other) and _normal(one) == _normal(other)


def _agree(one: str, other: str) -> bool:
    """Alike, yes standing for true and no for false."""
    first, second = _normal(one), _normal(other)
    return _TRUTH.get(first, first) == _TRUTH.get(second, second)


def _normal(text: str) -> str:
    """A number in plain digits, or words in lower case."""
    plain = _plain(text)
    found = _NUMBER.fullmatch(plain)
    if found is None or _SCALE.search(plain):
        return plain
    digits = found[2].replace(",", "")
    whole, _, fraction = digits.partition(".")
    value = (whole.lstrip("0") or "0") + (f".{kept}" if (kept := fraction.rstrip("0")) else "")
    return f"-{value}" if found[1] in ("-", "\u2212") and value != "0" else value


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", _bare(text)).casefold().split())


def _bare(text: str) -> str:
    """Without quotes, emphasis and the period around it."""
    return text.strip(_AROUND).removesuffix(".").strip(_AROUND)
