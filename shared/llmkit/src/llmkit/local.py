"""Asking a Hugging Face model in this process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Local:
    """A causal language model in this process: greedy, in batches, in its chat template where it has one.

    Attributes:
        model: folder or hub id.
        device: `cpu`, `cuda`, ...; `auto` takes a GPU where there is one.
        dtype: as transformers spells it; `auto` is what the weights are stored in.
        max_tokens: most tokens of one answer.
        batch_size: questions answered together.
    """

    model: str | Path
    device: str = "auto"
    dtype: str = "auto"
    max_tokens: int = 512
    batch_size: int = 8

    @property
    def identity(self) -> dict[str, Any]:
        return {}
