"""What a reply says, read the same way whether the model was to answer at once or to think first."""

import re
from typing import Literal

Verdict = Literal["younger", "same age", "older", "cannot decide", "invalid"]
LABELS: tuple[Verdict, Verdict, Verdict] = ("younger", "same age", "older")
"""Verdicts by label: 0, 1, 2."""
MARK = "final answer:"
_UNDECIDED = re.compile(r"\bcan(?:not| not|'t) (?:be )?decided?\b")


def verdict(text: str, *, thought: bool) -> Verdict:
    """The answer in a reply; with `thought`, in what follows its last "Final answer:".

    Lower case, markup (`*`, `_`, `#`, backticks) left out, white space run together. "Cannot decide" stands above the
    rest: a model that says so may name what it cannot decide between. Otherwise just one of "younger", "same age" and
    "older" must be there as a word; none, or several, is invalid. Negations are not understood.

    The original reads the two kinds of reply by two parsers (LLM.ipynb), which differ from this one so: its direct one
    does not lower the case, so that "Younger" is invalid, and tells "younger" or "older" beside "same age" as the
    former two; its CoT one tells "younger" beside "same age" as "younger" too, and takes a marked-up "**Final
    answer**:" for none. Both find keywords inside other words.
    """
    said = " ".join(re.sub(r"[*_#`]", "", text.lower().replace("’", "'")).split())
    if thought:
        _, mark, said = said.rpartition(MARK)
        if not mark:
            return "invalid"
    if _UNDECIDED.search(said):
        return "cannot decide"
    found: list[Verdict] = [label for label in LABELS if re.search(rf"\b{label}\b", said)]
    return found[0] if len(found) == 1 else "invalid"
