"""When to ask a server again: how long to wait, and when to give up on it."""

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from llmkit.errors import ServerFailing

LONGEST_WAIT = 120.0  # seconds; a server that wants more than that is not waited for
_LONGEST_BACKOFF = 60.0
_HOPELESS = 20  # failures in a row


def pause(name: str, repetition: int, base: float, wanted: float | None) -> float:
    """Seconds before repetition 0, 1, ... of request `name`: doubling, and never less than the server wants.

    The jitter, which keeps requests that failed together from coming back together, is drawn from the name, so that
    the same job waits the same times.
    """
    jitter = random.Random(f"{name}/{repetition}").random()
    backoff = min(base * 2**repetition, _LONGEST_BACKOFF) * (0.5 + jitter)
    return max(backoff, (wanted or 0.0) + base * jitter)


def wanted_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait (`retry-after-ms`; `retry-after` as seconds or date), or None."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return max(milliseconds / 1000, 0.0)
    value = headers.get("retry-after")
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        return max(seconds, 0.0)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None


class Health:
    """Counts failures in a row, and ends the job when a server has nothing else to offer."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._failures = 0

    def good(self) -> None:
        """The server has answered."""
        self._failures = 0

    def bad(self, reason: str) -> None:
        """It has failed.

        Raises:
            ServerFailing: once too often.
        """
        self._failures += 1
        if self._failures >= _HOPELESS:
            raise ServerFailing(
                f"{self._place} has failed {self._failures} times in a row, last with: {reason}. What was answered "
                f"before is kept in the cache; run again when the server works"
            )
