"""What a forward pass was asked to show, by site name."""

from collections.abc import Iterator, Mapping

from jaxtyping import Float
from torch import Tensor

from actkit.batch import Batch


class Run(Mapping[str, Tensor]):
    """Captured activations by site name, each [B, T, ...], in forward order.

    `batch`: the tokens. `logits`: [B, V] at each row's last real token ("last"), [B, T, V] ("all"), or None.
    Values at padding slots mean nothing.
    """

    def __init__(self, values: dict[str, Tensor], batch: Batch, logits: Float[Tensor, "..."] | None = None) -> None:
        self._values = values
        self.batch = batch
        self.logits = logits

    def __getitem__(self, name: str) -> Tensor:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {list(value.shape)}" for name, value in self.items())
        return f"Run({shapes or 'nothing captured'})"
