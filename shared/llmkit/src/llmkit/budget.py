"""How much may be spent, and the account that sees to it while many ask at once."""

import asyncio
from dataclasses import dataclass

from llmkit.errors import UsageError


@dataclass(frozen=True)
class Prices:
    """What a server charges, in any one currency, per million tokens."""

    prompt: float
    completion: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of one answer."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


@dataclass(frozen=True)
class Budget:
    """Limits of one job; None means no limit, 0 that nothing may be asked. Answers from the cache are free.

    Attributes:
        calls: requests that may reach the server, repeated ones included.
        tokens: prompt and completion tokens together.
        cost: in the currency of `prices`.
        prices: needed where `cost` is given.

    Raises:
        UsageError: a negative limit, or a cost without prices.
    """

    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    prices: Prices | None = None

    def __post_init__(self) -> None:
        for name in ("calls", "tokens", "cost"):
            limit = getattr(self, name)
            if limit is not None and not limit >= 0:
                raise UsageError(f"the budget's {name} is {limit}: give 0 or more, or None for no limit")
        if self.cost is not None and self.prices is None:
            raise UsageError("a budget of cost needs prices: Budget(cost=1.0, prices=Prices(prompt=..., completion=...))")
