"""Choosing the next token."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from actkit.errors import ActkitError


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn: `temperature` 0 is greedy; else from the smallest set of tokens of mass `top_p`.

    `seed`: one for all rows, or one per row.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | Sequence[int] = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ActkitError(f"temperature must be 0 (greedy) or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ActkitError(f"top_p must lie in (0, 1], not {self.top_p}")


class Sampler:
    """Draws next tokens for rows named by their original number.

    Every row has a generator of its own, so that what it draws depends neither on its neighbours nor on which of
    them have left the batch; the global random state is not touched.
    """

    def __init__(self, how: Sampling, rows: int) -> None:
        self.how = how
        if how.temperature == 0:
            return
        seeds = [how.seed * 1_000_003 + i for i in range(rows)] if isinstance(how.seed, int) else list(how.seed)
        if len(seeds) != rows:
            raise ActkitError(f"{len(seeds)} seeds for {rows} rows: give one seed, or one per row")
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, logits: Float[Tensor, "b V"], rows: Sequence[int]) -> Int[Tensor, " b"]:
        """One token id per row."""
        if self.how.temperature == 0:
            return logits.argmax(-1)
        draws = torch.stack([torch.rand((), generator=self._generators[row], dtype=torch.float64) for row in rows])
        return pick(logits.double() / self.how.temperature, self.how.top_p, draws.to(logits.device))


def pick(scores: Float[Tensor, "b V"], top_p: float, draws: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
    """Nucleus sampling by inverting the cumulative distribution at `draws`, uniform in [0, 1).

    Holtzman et al. 2020, section 3.1: the smallest set of most likely tokens whose mass reaches `top_p`.
    """
    probs, order = scores.softmax(-1).sort(dim=-1, descending=True)
    before = probs.cumsum(-1) - probs
    mass = probs.masked_fill(before >= top_p, 0.0).cumsum(-1)
    chosen = torch.searchsorted(mass, draws[:, None] * mass[:, -1:], right=True)
    return order.gather(-1, chosen.clamp(max=order.shape[-1] - 1))[:, 0]
