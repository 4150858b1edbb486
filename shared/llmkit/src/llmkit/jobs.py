"""`ask`: questions in, replies out."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from llmkit.backend import Backend
from llmkit.budget import Budget
from llmkit.exchange import Exchange
from llmkit.question import Question, Reply

_NO_LIMIT = Budget()


def ask(
    questions: Iterable[Question],
    backend: Backend,
    *,
    cache: Path,
    budget: Budget = _NO_LIMIT,
    record: Callable[[Exchange], None] | None = None,
) -> Iterator[Reply]:
    """Ask every question, and yield one reply for each as they come in."""
    raise NotImplementedError
