"""Whoever answers, from what a user writes."""

from llmkit.endpoint import Endpoint
from llmkit.local import Local
from llmkit.server import Server

LOCAL = "local:"


def named(
    model: str, *, base_url: str, key_variable: str, device: str, max_tokens: int, concurrency: int, timeout: float
) -> Server | Local:
    """`local:` and a folder or hub id is a model in this process, anything else a model on the server at `base_url`.

    Args:
        key_variable: the environment variable that holds the key; `none`: no key is asked for.

    Raises:
        UsageError: an address or a number that makes no sense.
    """
    if model.startswith(LOCAL):
        return Local(model.removeprefix(LOCAL), device, max_tokens=max_tokens, batch_size=concurrency)
    variable = None if key_variable.lower() == "none" else key_variable
    endpoint = Endpoint(base_url, model, variable)
    return Server(endpoint, max_tokens=max_tokens, concurrency=concurrency, timeout=timeout)
