"""How the same number of several runs is told: the median, and the least and the most beside it."""

from collections.abc import Callable, Sequence
from statistics import median

from runkit.page.numbers import NONE, real

from grokked_reasoning.pages.evidence import Setting, Trained


def told(values: Sequence[float | None], how: Callable[[float], str] = real) -> str:
    """`0.32 (0.28 to 0.35)`; where all are the same that alone; where some are lacking, of how many it is told."""
    known = [value for value in values if value is not None]
    if not known:
        return NONE
    middle = how(median(known))
    low, high = how(min(known)), how(max(known))
    words = middle if low == high else f"{middle} ({low} to {high})"
    return words if len(known) == len(values) else f"{words}; {len(known)} of {len(values)} runs"


def over(setting: Setting, number: Callable[[Trained], float | None], how: Callable[[float], str] = real) -> str:
    """A number of every run of a setting."""
    return told([number(each) for each in setting.runs], how)


def steps(value: float) -> str:
    """A step: 1,750."""
    return f"{value:,.0f}"


def times(value: float) -> str:
    """A ratio: 3.4."""
    return f"{value:.1f}"
