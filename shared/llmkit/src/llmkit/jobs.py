"""`ask`: questions in, replies out.

What the cache knows is given first. The rest is asked by a few workers in an event loop on a thread of its own, so that
a slow answer holds up nobody and the asker needs to know nothing of it.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from llmkit.backend import Backend, Completion, Failed, Session, Trail
from llmkit.background import Emit, background
from llmkit.budget import Account, Budget, Spending, Spent
from llmkit.cache import Cache
from llmkit.errors import BudgetSpent, UsageError
from llmkit.exchange import Exchange
from llmkit.question import Question, Reply
from llmkit.talk import Outcome, Talk

_NO_LIMIT = Budget()
_LEAST = Spending(1, 1, 1)  # no question takes less


def ask(
    questions: Iterable[Question],
    backend: Backend,
    *,
    cache: Path,
    budget: Budget = _NO_LIMIT,
    record: Callable[[Exchange], None] | None = None,
) -> Generator[Reply]:
    """Ask every question, and yield one reply for each as they come in; those that the cache knows come first.

    A reply is in the cache before it is yielded, so a job that was killed and is run again asks only the rest. Closing
    the generator, or Ctrl-C, ends all that is under way.

    Args:
        questions: each with a key and sample that no other has.
        backend: a `Server` or a `Local`.
        cache: the SQLite file of all answers; several jobs and processes may share it.
        budget: what this job may spend.
        record: called with every exchange, in the caller's thread, before the reply that it led to.

    Raises:
        UsageError: two questions share key and sample; or the cache cannot be used.
        CacheDamaged: the cache cannot be read.
        MissingKeyError, AccessDenied: the server's key is missing, or not accepted.
        ServerFailing: the server does nothing but fail.
        BudgetSpent: after all replies that could be had.
    """
    return _replies(unique(questions), backend, cache, budget, record or (lambda _: None))


def open_talks(questions: Iterable[Question], backend: Backend, cache: Cache) -> Generator[Talk]:
    """Every question as far as the cache leads: with its reply, or with the request that has to be sent."""
    identity = backend.identity
    for question in questions:
        talk = Talk(question, identity)
        talk.recall(cache)
        yield talk


def unique(questions: Iterable[Question]) -> list[Question]:
    """The questions, none of which shares key and sample with another.

    Raises:
        UsageError: two do.
    """
    seen: set[tuple[str, int]] = set()
    asked = list(questions)
    for question in asked:
        if (name := (question.key, question.sample)) in seen:
            raise UsageError(f"question {name[0]!r} (sample {name[1]}) stands twice: give each its own key or sample")
        seen.add(name)
    return asked


def _replies(
    questions: list[Question], backend: Backend, path: Path, budget: Budget, record: Callable[[Exchange], None]
) -> Generator[Reply]:
    waiting: list[Talk] = []
    answered = 0
    with Cache(path) as cache:
        for talk in open_talks(questions, backend, cache):
            if talk.reply is None:
                waiting.append(talk)
            else:
                answered += 1
                yield talk.reply
    if not waiting:
        return
    job = Job(waiting, backend, path, budget)
    with background(job.run) as arrivals:
        for arrival in arrivals:
            if isinstance(arrival, Exchange):
                record(arrival)
                continue
            answered += arrival.status != "error"
            yield arrival
    if job.obstacle:
        raise BudgetSpent(answered, len(questions), job.obstacle)


class Job:
    """Questions that have to be asked.

    Attributes:
        obstacle: the limit of the budget that stopped it; empty where none did.
    """

    def __init__(self, talks: list[Talk], backend: Backend, path: Path, budget: Budget) -> None:
        self.obstacle = ""
        self._talks, self._backend, self._path, self._budget = talks, backend, path, budget

    async def run(self, emit: Emit[Exchange | Reply]) -> None:
        """Ask them all; exchanges and replies are emitted as they come in."""
        account = Account(self._budget)
        self.obstacle = account.obstacle(_LEAST)
        if self.obstacle:  # nothing may be asked: no key is looked for, no model loaded
            return
        talks = iter(self._talks)
        with Cache(self._path) as cache:
            async with self._backend.open(account) as session, asyncio.TaskGroup() as workers:
                for _ in range(min(self._backend.concurrency, len(self._talks))):
                    workers.create_task(self._work(talks, session, cache, emit))

    async def _work(self, talks: Iterable[Talk], session: Session, cache: Cache, emit: Emit[Exchange | Reply]) -> None:
        """One question after the other, from a line that all workers share, while the budget lasts."""
        for talk in talks:
            try:
                while (reply := talk.recall(cache)) is None:  # another process may have been quicker
                    await self._exchange(talk, session, cache, emit)
                emit(reply)
            except Spent as spent:
                self.obstacle = str(spent)
            if self.obstacle:
                return

    async def _exchange(self, talk: Talk, session: Session, cache: Cache, emit: Emit[Exchange | Reply]) -> None:
        """Send what is to be sent next; whatever comes of it is kept and emitted."""
        trail, turn, key, start = Trail(), talk.turn, talk.key, time.time_ns()
        try:
            completion = await session.complete(talk.request, trail)
        except Failed as failure:
            completion, outcome = Completion(""), talk.fail(str(failure), trail.attempts)
        else:
            completion = cache.put(key, completion, model=self._backend.name, asked=talk.request.name)
            outcome = talk.hear(completion, trail.attempts)
        emit(self._recorded(talk, turn, trail, completion, outcome, start))

    def _recorded(
        self, talk: Talk, turn: int, trail: Trail, completion: Completion, outcome: Outcome, start: int
    ) -> Exchange:
        return Exchange(
            key=talk.question.key,
            sample=talk.question.sample,
            turn=turn,
            backend=self._backend.place,
            model=self._backend.name,
            request=trail.sent,
            response=completion.text or completion.refusal,
            status=outcome.status,
            error=outcome.error,
            attempts=trail.attempts,
            start_ns=start,
            end_ns=time.time_ns(),
            prompt_tokens=completion.prompt_tokens or 0,
            completion_tokens=completion.completion_tokens or 0,
        )
