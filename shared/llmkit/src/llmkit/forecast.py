"""What a job would cost, without asking anything."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from llmkit.backend import Backend
from llmkit.budget import Prices, Spending
from llmkit.cache import NAME, Cache
from llmkit.jobs import open_talks, unique
from llmkit.question import Question


@dataclass(frozen=True)
class Estimate:
    """The dry run of a job.

    Attributes:
        questions: how many there are.
        cached: of these, how many have their answer already.
        calls: requests to send if none fails and every answer can be used; each repetition adds one.
        prompt_tokens: at most, for these calls.
        completion_tokens: at most, for these calls.
        cost: at most, for these calls, in the currency of the prices; None without prices.
    """

    questions: int
    cached: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None


def estimate(questions: Iterable[Question], backend: Backend, *, cache: Path, prices: Prices | None = None) -> Estimate:
    """Count what `ask` would send, with the most that each request can cost. Sends and writes nothing.

    Raises:
        UsageError: two questions share key and sample.
        CacheDamaged: the cache cannot be read.
    """
    total = Spending()
    cached = 0
    asked = unique(questions)
    with TemporaryDirectory() as empty, Cache(cache if cache.is_file() else Path(empty) / NAME) as store:
        for talk in open_talks(asked, backend, store):
            if talk.reply is None:
                total += talk.request.most(backend.max_tokens)
            else:
                cached += 1
    cost = prices.cost(total.prompt, total.completion) if prices else None
    return Estimate(len(asked), cached, total.calls, total.prompt, total.completion, cost)
