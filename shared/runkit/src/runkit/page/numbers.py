"""How numbers are written on the page; what is null is a dash."""

from collections.abc import Sequence

NONE = "–"
ALMOST = "≈0"


def share(value: float | None) -> str:
    """A share in percent: 0.8333 -> 83.3 %."""
    return NONE if value is None else f"{100 * value:.1f} %"


def real(value: float | None, digits: int = 2) -> str:
    """A number, with a true minus sign, and one more digit where it would look like 0: 0.21, −0.004; 0 is exactly 0."""
    if value is None:
        return NONE
    if value == 0:
        return "0"
    fits = (f"{value:.{each}f}" for each in (digits, digits + 1) if round(value, each))
    return next(fits, ALMOST).replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """A change, with its sign; no change is 0."""
    told = real(value, digits)
    return f"+{told}" if value is not None and value > 0 and told != ALMOST else told


def span(low: float | None, high: float | None, digits: int = 2) -> str:
    """A 95 % interval: [0.71, 0.88]."""
    return NONE if low is None or high is None else f"[{real(low, digits)}, {real(high, digits)}]"


def spanned_share(low: float | None, high: float | None) -> str:
    """A 95 % interval in percent."""
    return NONE if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"


def count(value: int, noun: str, plural: str = "") -> str:
    """A number of things: 1 neuron, 1,204 neurons."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def listed(words: Sequence[str]) -> str:
    """Words in a sentence: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
