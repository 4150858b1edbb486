"""The logits of a batch, held to what each of its answers may say next."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from memreason.steering.grammar import Choice, Writer


class Steered:
    """The writers of a batch's rows. `free`: of the rows asked about last, those that had a choice."""

    def __init__(self, writers: Sequence[Writer]) -> None:
        self.writers = writers
        self.free: list[bool] = []
        self._masks: dict[Choice, Tensor] = {}

    def adjust(self, logits: Float[Tensor, "b V"], rows: Sequence[int]) -> Float[Tensor, "b V"]:
        """The logits with -inf at what may not be said."""
        choices = [self.writers[row].allowed() for row in rows]
        self.free = [choice.forced is None for choice in choices]
        banned = torch.stack([self._banned(choice, logits) for choice in choices])
        held = logits.masked_fill(banned, -torch.inf)
        forced = [(place, choice.forced) for place, choice in enumerate(choices) if choice.forced is not None]
        if forced:
            places, ids = torch.tensor(forced, device=logits.device).T
            held[places] = -torch.inf
            held[places, ids] = 0.0
        return held

    def take(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """What was chosen."""
        for row, token in zip(rows, tokens, strict=True):
            self.writers[row].take(token)

    def _banned(self, choice: Choice, logits: Float[Tensor, "b V"]) -> Tensor:
        """Where a choice does not lead; nowhere for a forced one, which is written in afterwards."""
        key = choice if choice.forced is None else Choice(frozenset(), only=False)
        if key not in self._masks:
            mask = torch.full(logits.shape[-1:], key.only, dtype=torch.bool, device=logits.device)
            mask[list(key.ids)] = not key.only
            self._masks[key] = mask
        return self._masks[key]
