"""Grokfast (Lee et al. 2024, arXiv 2405.20233): amplify what changes slowly in the gradients: that which generalises.

Algorithm 1 of the paper ("ma": mean of a window of 100, λ = 5) and algorithm 2 ("ema": α = 0.98, λ = 2).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["none", "ema", "ma"]
_ALPHA, _EMA_FACTOR = 0.98, 2.0
_WINDOW, _MA_FACTOR = 100, 5.0


class Grokfast:
    """Adds the slow part to every gradient, after clipping and before the optimizer's step."""

    def __init__(self, kind: Kind, parameters: Sequence[nn.Parameter]) -> None:
        self._kind, self._seen = kind, 0
        self._parameters = list(parameters) if kind != "none" else []
        self._slow = [torch.zeros_like(each) for each in self._parameters]
        self._window = [each.new_zeros((_WINDOW, *each.shape)) for each in self._slow] if kind == "ma" else []

    @torch.no_grad()
    def apply(self) -> None:
        """Change the gradients in place."""
        for i, each in enumerate(self._parameters):
            if each.grad is not None:
                self._amplify(i, each.grad)
        self._seen += 1

    def _amplify(self, i: int, gradient: Tensor) -> None:
        slow = self._slow[i]
        if self._kind == "ema":
            slow.lerp_(gradient, 1 - _ALPHA if self._seen else 1.0)
            gradient.add_(slow, alpha=_EMA_FACTOR)
            return
        old = self._window[i][self._seen % _WINDOW]
        slow.add_(gradient).sub_(old)
        old.copy_(gradient)
        if self._seen + 1 >= _WINDOW:
            gradient.add_(slow, alpha=_MA_FACTOR / _WINDOW)

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs."""
        if self._kind == "none":
            return {}
        tensors = {f"slow.{i}": each for i, each in enumerate(self._slow)}
        tensors |= {f"window.{i}": each for i, each in enumerate(self._window)}
        return {**tensors, "seen": torch.tensor(self._seen)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        for name, mine in self.state().items():
            mine.copy_(state[name])
        self._seen = int(state["seen"]) if "seen" in state else 0
