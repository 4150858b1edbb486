"""What is in force right now: the probe of the running thread, and changes to a model that threads share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actkit.hooks import Probe

PROBE: ContextVar["Probe | None"] = ContextVar("PROBE", default=None)
"""The innermost open probe of this thread: hooks of any other one, outer or of another thread, stay silent."""

_LOCK = Lock()
_HELD: dict[object, "_Change"] = {}


class _Change:
    def __init__(self, undo: Callable[[], None]) -> None:
        self.holders = 0
        self.undo = undo


@contextmanager
def held(key: object, do: Callable[[], Callable[[], None]]) -> Iterator[None]:
    """A change that lasts while anyone holds it: the first holder of `key` calls `do`, the last what `do` gave back."""
    with _LOCK:
        change = _HELD.get(key) or _HELD.setdefault(key, _Change(do()))
        change.holders += 1
    try:
        yield
    finally:
        with _LOCK:
            change.holders -= 1
            if not change.holders:
                del _HELD[key]
                change.undo()


def is_held(key: object) -> bool:
    """Whether anyone holds this change."""
    return key in _HELD
