"""What `ask` needs of whoever answers: a server, or a model in this process."""

from typing import Any, Protocol


class Backend(Protocol):
    """Whoever answers."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides an answer besides the messages and the schema: part of the cache's key."""
        ...
