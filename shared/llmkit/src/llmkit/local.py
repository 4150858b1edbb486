"""Asking a Hugging Face model in this process."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.budget import Account
from llmkit.errors import UsageError

if TYPE_CHECKING:
    from llmkit.local_session import LocalSession


@dataclass(frozen=True)
class Local:
    """A causal language model in this process: greedy, in left-padded batches, in its chat template if it has one.

    The model is loaded when a question has to be asked that the cache does not answer. Padding is masked, so an answer
    does not depend on what else is in its batch, but for rounding: in half precision a near tie may fall either way.

    Attributes:
        model: folder, or hub id.
        device: `cpu`, `cuda`, ...; `auto` takes a GPU where there is one.
        dtype: as transformers spells it; `auto` is what the weights are stored in.
        max_tokens: most tokens of one answer.
        batch_size: questions answered together.

    Raises:
        UsageError: a number that makes no sense.
    """

    model: str | Path
    device: str = "auto"
    dtype: str = "auto"
    max_tokens: int = 512
    batch_size: int = 8

    def __post_init__(self) -> None:
        for name in ("max_tokens", "batch_size"):
            if not getattr(self, name) >= 1:
                raise UsageError(f"a local model's {name} is at least 1, not {getattr(self, name)}")

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides an answer besides messages and schema: part of the cache's key.

        Raises:
            UsageError: there is no such model.
        """
        return {"local": self.place, "content": self._fingerprint(), "dtype": self.dtype, "max_tokens": self.max_tokens}

    @property
    def place(self) -> str:
        """The folder in full, or the hub id."""
        folder = Path(self.model)
        return str(folder.resolve()) if folder.is_dir() else str(self.model)

    @property
    def name(self) -> str:
        """The folder's name, or the hub id."""
        return Path(self.place).name if Path(self.model).is_dir() else self.place

    @property
    def concurrency(self) -> int:
        """As many as go into a batch."""
        return self.batch_size

    @asynccontextmanager
    async def open(self, account: Account) -> AsyncGenerator["LocalSession"]:
        """Load the model, and be ready to answer within what the account allows.

        Raises:
            UsageError: it cannot be loaded.
        """
        from llmkit.local_session import LocalSession

        session = LocalSession(self, account)
        try:
            yield session
        finally:
            await session.close()

    def _fingerprint(self) -> str:
        """Changes when the model does: a folder's names, sizes and times, a hub model's commit."""
        folder = Path(self.model)
        if not folder.is_dir():
            return _commit(str(self.model))
        files = sorted(path for path in folder.iterdir() if path.is_file())
        listing = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return hashlib.sha256(repr(listing).encode()).hexdigest()


def _commit(model: str) -> str:
    """The commit that a hub id stands for now."""
    from transformers import AutoConfig

    configs: Any = AutoConfig
    try:
        config = configs.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{model!r} is neither a folder here nor a model of the hub: {error}") from None
    return str(config._commit_hash)
