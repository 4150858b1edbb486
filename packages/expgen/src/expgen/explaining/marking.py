"""An excerpt on one line of a prompt: activating tokens between {{ and }}, and nothing that a chat could mistake.

Corpus text may hold the marks themselves, line breaks, or what chat templates are made of; all these are spelled apart.
"""

import json
import re
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from expgen.store import Text

OPEN, CLOSE = "{{", "}}"
_NAMES = "s|bos|eos|unk|pad|mask|sep|cls|think|system|user|assistant|human|[a-z]+(?:_[a-z0-9]+)+"
_OPENING = re.compile(
    rf"""
    < (?= [<|｜] | /? (?i: {_NAMES} ) > )     # <|im_start|> <｜User｜> <<SYS>> <s> </s> <start_of_turn> <unused_3>
    | \[ (?= /? [A-Z]{{3,}} (?:_[A-Z]+)* \] )  # [INST] [/INST] [CLS] [TOOL_CALLS]
    | \{{ (?= \{{ ) | \}} (?= \}} )            # our own marks
    """,
    re.VERBOSE,
)
_BREAKS = str.maketrans(dict.fromkeys("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", "\\n"))


class Stretch(NamedTuple):
    """Neighbouring tokens that all activate, or all do not. `strength`: the largest activation among them."""

    text: str
    active: bool
    strength: float


def stretches(text: Text, activations: Float[np.ndarray, " T"], threshold: float) -> list[Stretch]:
    """The text in pieces: which of it reaches the threshold. Characters that no token claims go to the next one."""
    reached = np.nan_to_num(activations, nan=-np.inf) >= threshold
    active = np.zeros(len(text.text), dtype=bool)
    strength = np.full(len(text.text), -np.inf)
    done = 0
    for (start, end), value, is_active in zip(text.spans.tolist(), activations, reached & text.valid, strict=True):
        at = slice(min(start, done), end)
        active[at] |= is_active
        strength[at] = np.fmax(strength[at], value)
        done = max(done, end)
    pieces = [list(run) for _, run in groupby(range(len(active)), key=active.__getitem__)]
    return [
        Stretch(text.text[run[0] : run[-1] + 1], bool(active[run[0]]), float(strength[run].max())) for run in pieces
    ]


def marked(pieces: Iterable[Stretch]) -> str:
    """The pieces on one line, the active ones between marks."""
    written = ""
    for piece in pieces:
        said = escaped(piece.text)
        core = said.strip() or said
        head, tail = said[: said.index(core)], said[said.index(core) + len(core) :]
        for part in (head, OPEN, core, CLOSE, tail) if piece.active else (said,):
            written += f" {part}" if _would_join(written, part) else part
    return written


def strengths(pieces: Iterable[Stretch], peak: float) -> str:
    """The active pieces with their strengths, 0 to 10: "red" 10, "blue" 7."""
    return ", ".join(
        f"{json.dumps(escaped(piece.text.strip()), ensure_ascii=False)} {round(10 * piece.strength / peak)}"
        for piece in pieces
        if piece.active
    )


def escaped(text: str) -> str:
    """Text that keeps to its line, has none of our marks and no whole token of a chat template."""
    return _OPENING.sub(r"\g<0> ", text.replace("\r\n", "\n").translate(_BREAKS))


def _would_join(before: str, after: str) -> bool:
    """Whether a brace would stand beside one of its kind, so that the marks could be read in two ways."""
    return before[-1:] in ("{", "}") and before[-1:] == after[:1]
