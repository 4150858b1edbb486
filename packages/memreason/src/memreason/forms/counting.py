"""How many rows and steps there are, of which kinds and in which order."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from memreason.forms.draft import Told
from memreason.trace import MEMORY, REASON

_SIGN = {MEMORY: "M", REASON: "R"}


def counted(source: str, split: str, of: Literal["read", "kept"], rows: Iterable[Sequence[Told]]) -> dict[str, Any]:
    """A row of the table `counts`, from the steps of each row."""
    steps = [tuple(each) for each in rows]
    orders = ["".join(_SIGN.get(step.kind, "-") for step in each) for each in steps]
    every = "".join(orders)
    return {
        "source": source,
        "split": split,
        "of": of,
        "rows": len(orders),
        "annotated": sum(map(bool, orders)),
        "steps": len(every),
        "memory": every.count("M"),
        "reason": every.count("R"),
        "other": every.count("-"),
        "blank": sum(not step.text for each in steps for step in each),
        "memory_only": _matching("M+", orders),
        "reason_only": _matching("R+", orders),
        "ends_in_memory": _matching(".*M", orders),
        "memory_first": _matching("M+R+", orders),
    }


def _matching(pattern: str, orders: Sequence[str]) -> int:
    return sum(re.fullmatch(pattern, order) is not None for order in orders)
