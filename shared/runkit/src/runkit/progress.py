"""Progress bars that keep quiet where nobody watches."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def track(work: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Pass `work` through, with a bar on stderr where that is a terminal."""
    yield from tqdm(work, desc=what, total=total, disable=not sys.stderr.isatty(), leave=False)
