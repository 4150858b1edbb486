"""A local model at work: questions that wait at the same time are answered in one batch."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from llmkit.backend import Completion, Request, Trail
from llmkit.budget import Account, Spending
from llmkit.generator import Generator, Prompt

if TYPE_CHECKING:
    from llmkit.local import Local


class Waiting(NamedTuple):
    """A prompt, and where its answer is expected."""

    prompt: Prompt
    answer: "asyncio.Future[Completion]"


class LocalSession:
    """A model that is loaded, for one job."""

    def __init__(self, local: "Local", account: Account) -> None:
        self._account = account
        self._batch_size, self._max_tokens = local.batch_size, local.max_tokens
        self._generator = Generator.load(local)
        self._line: list[Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def complete(self, request: Request, trail: Trail) -> Completion:
        """The model's answer.

        Raises:
            Failed: the prompt leaves no room for an answer.
            Spent: the budget does not allow it.
        """
        prompt = self._generator.prompt(request)
        most = Spending(1, len(prompt.ids), self._max_tokens)
        await self._account.reserve(most)
        used = Spending()
        try:
            trail.attempts += 1
            trail.sent = {"prompt": prompt.text, "max_new_tokens": self._max_tokens}
            completion = await self._answered(prompt)
            used = completion.used(most)
            return completion
        finally:
            self._account.settle(most, used)

    async def close(self) -> None:
        """Stop after the token in hand."""
        self._generator.stop.set()
        if self._worker is not None:
            self._worker.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker

    async def _answered(self, prompt: Prompt) -> Completion:
        waiting = Waiting(prompt, asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._serve())
        return await waiting.answer

    async def _serve(self) -> None:
        """Batch after batch, off the event loop, until nobody waits."""
        await asyncio.sleep(0)  # everyone who is ready gets in line
        while self._line:
            batch, self._line = self._line[: self._batch_size], self._line[self._batch_size :]
            await self._answer(batch)
            await asyncio.sleep(0)

    async def _answer(self, batch: list[Waiting]) -> None:
        try:
            completions = await asyncio.to_thread(self._generator.answer, [each.prompt for each in batch])
        except Exception as error:  # noqa: BLE001 - those who wait for the batch raise it
            for each in batch:
                _settle(each.answer, error)
            return
        for each, completion in zip(batch, completions, strict=True):
            _settle(each.answer, completion)


def _settle(answer: "asyncio.Future[Completion]", outcome: Completion | Exception) -> None:
    """Deliver, unless nobody waits any more."""
    if answer.done():
        return
    if isinstance(outcome, Completion):
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)
