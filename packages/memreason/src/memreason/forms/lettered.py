"""Questions whose options, each with its letter, stand in their text."""

import re
from collections.abc import Sequence
from string import ascii_uppercase

_FIRST = re.compile(r"(?:^|\s)A\.(\s?)(?=\S)")
_LEAD = re.compile(r"\s*\bOptions:\s*$")


def choices(options: Sequence[str]) -> tuple[str, ...]:
    """Options as choices: `A. bank`, `B. library`."""
    return tuple(f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False))


def taken_apart(question: str) -> tuple[str, tuple[str, ...]]:
    """Of `Where? Options: A.bank B.library` or `Where? A. bank B. library` the stem and the options' texts.

    Letters must come in order, and be written as the first one is; without two of them there are no options.
    """
    first = _FIRST.search(question)
    marks = list(_marks(question, first)) if first else []
    if len(marks) < 2:
        return question.strip(), ()
    ends = [start for start, _ in marks[1:]] + [len(question)]
    texts = tuple(question[begin:end].strip() for (_, begin), end in zip(marks, ends, strict=True))
    return _LEAD.sub("", question[: marks[0][0]]).strip(), texts


def _marks(question: str, first: re.Match[str]) -> list[tuple[int, int]]:
    """Where the mark of each letter starts, and where its option does."""
    found = [first.span()]
    for letter in ascii_uppercase[1:]:
        mark = re.compile(rf"\s{letter}\.{re.escape(first[1])}(?=\S)").search(question, found[-1][1])
        if mark is None:
            break
        found.append(mark.span())
    return found
