"""Whoever is asked: a model on a server, or one in this process."""

from typing import Protocol

from llmkit import Local, Server, named


class Asking(Protocol):
    """What the options of a stage say of asking."""

    @property
    def base_url(self) -> str: ...
    @property
    def key_variable(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def concurrency(self) -> int: ...
    @property
    def timeout(self) -> float: ...


def backend(name: str, options: Asking, max_tokens: int) -> Server | Local:
    """Whom a name such as gpt-4o-mini or local:FOLDER means. Raises UsageError for what makes no sense."""
    return named(
        name,
        base_url=options.base_url,
        key_variable=options.key_variable,
        device=options.device,
        max_tokens=max_tokens,
        concurrency=options.concurrency,
        timeout=options.timeout,
    )
