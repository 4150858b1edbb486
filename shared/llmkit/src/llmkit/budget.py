"""How much may be spent, and the account that sees to it while many ask at once."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from llmkit.errors import UsageError


@dataclass(frozen=True)
class Prices:
    """What a server charges, in any one currency, per million tokens.

    Raises:
        UsageError: a price below 0.
    """

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        if not (self.prompt >= 0 and self.completion >= 0):
            raise UsageError(f"prices are 0 or more, not {self.prompt} and {self.completion}")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of so many tokens."""
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
            raise UsageError(
                "a budget of cost needs prices: Budget(cost=1.0, prices=Prices(prompt=2.5, completion=10))"
            )


@dataclass
class Spending:
    """Requests and tokens: what one request may take at most, and, once known, what it took."""

    calls: int = 0
    prompt: int = 0
    completion: int = 0

    def __add__(self, other: "Spending") -> "Spending":
        return Spending(self.calls + other.calls, self.prompt + other.prompt, self.completion + other.completion)


class Spent(Exception):
    """What is asked for does not fit into what is left; the text says which limit stands in the way."""


class Account:
    """What a job has spent, and what requests under way may still spend; belongs to one event loop.

    Each request reserves the most that it can cost before it is sent, and gives back what it did not use. So the sum
    never passes the budget, whatever runs at the same time.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._spent = Spending()
        self._held: list[Spending] = []
        self._settled = asyncio.Event()

    async def reserve(self, most: Spending) -> "Spending":
        """Set `most` aside; waits for requests under way where they may give back enough. `settle` what it returns.

        Raises:
            Spent: it does not fit, and nothing that could be given back is under way.
        """
        while obstacle := self.obstacle(most):
            if not self._held:
                raise Spent(obstacle)
            await self._settled.wait()
        self._held.append(most)
        return most

    def settle(self, most: Spending, used: Spending) -> None:
        """Replace what was set aside by what was used."""
        self._held = [each for each in self._held if each is not most]
        self._spent += used
        self._settled.set()
        self._settled = asyncio.Event()

    def obstacle(self, most: Spending) -> str:
        """The first limit that `most` would break; empty where it fits."""
        taken = sum(self._held, self._spent)
        for name, limit, used, more in self._limits(taken, most):
            if used + more > limit:
                return f"{name}: {used:g} of {limit:g} used, the next request may take {more:g}"
        return ""

    def _limits(self, taken: Spending, most: Spending) -> Iterator[tuple[str, float, float, float]]:
        budget = self._budget
        if budget.calls is not None:
            yield "calls", budget.calls, taken.calls, most.calls
        if budget.tokens is not None:
            yield "tokens", budget.tokens, taken.prompt + taken.completion, most.prompt + most.completion
        if budget.cost is not None and budget.prices is not None:
            cost = budget.prices.cost
            yield "cost", budget.cost, cost(taken.prompt, taken.completion), cost(most.prompt, most.completion)
