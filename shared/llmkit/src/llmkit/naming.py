"""Whoever answers, from what a user writes."""

from typing import Protocol

from llmkit.endpoint import Endpoint
from llmkit.local import Local
from llmkit.server import Server

LOCAL = "local:"


class Asking(Protocol):
    """What the options of a stage say of asking. `key_variable`: the environment variable that holds the key; `none`:
    no key is asked for. `device`: of a local model."""

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


def named(model: str, options: Asking, *, max_tokens: int) -> Server | Local:
    """`local:` and a folder or hub id is a model in this process, anything else a model on the server at `base_url`.

    Raises:
        UsageError: an address or a number that makes no sense.
    """
    if model.startswith(LOCAL):
        return Local(model.removeprefix(LOCAL), options.device, max_tokens=max_tokens, batch_size=options.concurrency)
    variable = None if options.key_variable.lower() == "none" else options.key_variable
    endpoint = Endpoint(options.base_url, model, variable)
    return Server(endpoint, max_tokens=max_tokens, concurrency=options.concurrency, timeout=options.timeout)
