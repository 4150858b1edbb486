"""Datasets of the Hugging Face hub, through `datasets`, which is imported on first use (it takes a second)."""

import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from runkit.errors import UsageError, nearest
from runkit.readers import Raw

_PATIENCE = (
    3.0  # seconds to wait for the hub's first answer; the libraries' own retries take 23 s to find that it is away
)


class HubRows(NamedTuple):
    """Rows of one split, and the fingerprint of their content."""

    split: str
    digest: str
    rows: Iterator[Raw]


def load(name: str, split: str | None) -> HubRows:
    """Read a hub dataset, `owner/name` or `owner/name:configuration`; what is in the local cache needs no network.

    Raises:
        UsageError: there is no such dataset, configuration or split, or the hub cannot be reached.
    """
    import datasets  # pyright: ignore[reportMissingTypeStubs]
    from datasets.exceptions import DatasetsError  # pyright: ignore[reportMissingTypeStubs]

    path, _, configuration = name.partition(":")
    try:
        with _offline_unless_reachable():
            splits: Any = cast("Any", datasets).load_dataset(path, configuration or None)
    except (OSError, ValueError, DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{name}: no such file here, and not to be had from the Hugging Face hub: {reason}") from None
    chosen = _choose(name, splits, split)
    rows = (Raw(number, dict(values), str(values)) for number, values in enumerate(splits[chosen], start=1))
    return HubRows(chosen, splits[chosen]._fingerprint, rows)


@contextmanager
def _offline_unless_reachable() -> Generator[None]:
    """Let the libraries look only into the local cache while the hub does not answer."""
    import datasets.config  # pyright: ignore[reportMissingTypeStubs]

    settings = cast("Any", datasets.config)
    before = settings.HF_HUB_OFFLINE
    settings.HF_HUB_OFFLINE = before or not _is_reachable(settings.HF_ENDPOINT)
    try:
        yield
    finally:
        settings.HF_HUB_OFFLINE = before


def _is_reachable(address: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_PATIENCE).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _choose(name: str, splits: Any, split: str | None) -> str:
    if split is None and len(splits) == 1:
        return str(next(iter(splits)))
    if split is None:
        raise UsageError(f"{name} has the splits {', '.join(splits)}: choose one with --split")
    if split not in splits:
        raise UsageError(f"--split {split}: {name} has no such split; {nearest(split, splits)}")
    return split
