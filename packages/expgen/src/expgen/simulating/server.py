"""Simulators on a server: the same question as `prompted`, answered by log-probabilities of the prompt itself."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from llmkit import Endpoint
from runkit.errors import UsageError

from expgen.simulating import Asked, Prediction, Simulator
from expgen.simulating.listing import UNKNOWN, Listing, listing

_TOP = 10
_ALTERNATIVES = 20  # log-probabilities per token; OpenAI-compatible servers give at most so many
_LEAST = _TOP + 1
_RETRIES = 6


class Limits(NamedTuple):
    """Of asking: requests at a time, seconds for an answer, requests in all (None: no limit)."""

    concurrency: int
    timeout: float
    max_calls: int | None


class Server(Simulator):
    """A completion model on an OpenAI-compatible server that tells log-probabilities of its prompt."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        self.name = f"server:{endpoint.model}"
        self._endpoint, self._limits = endpoint, limits
        self._calls = 0

    def probe(self) -> None:
        """See whether the server can do what is needed.

        Raises:
            UsageError: it cannot; says what is missing.
        """
        ((answer, fault),) = asyncio.run(self._answers(["a\t1\nb\t1\n"]))
        missing = fault or _missing(answer)
        if missing:
            raise UsageError(
                f"--simulator {self.name}: {self._endpoint.place} does not give log-probabilities of the prompt "
                f"(completions with echo=true and logprobs={_ALTERNATIVES}): {missing}. vLLM does; or take a local "
                "model as simulator"
            )

    def predict(self, asked: Sequence[Asked]) -> Iterator[Prediction]:
        """A prediction from 0 to 10 per token for each, in order. A request that fails is a prediction with a fault.

        Raises:
            UsageError: the budget of requests is spent.
        """
        listings = [listing(each.description, each.text, _TOP) for each in asked]
        answers = asyncio.run(self._answers([each.prompt for each in listings]))
        for question, (answer, fault) in zip(listings, answers, strict=True):
            yield Prediction(None, fault) if fault else read(question, answer)

    async def _answers(self, prompts: Sequence[str]) -> list[tuple[Any, str | None]]:
        """Each prompt's log-probabilities, or why there are none."""
        self._calls += len(prompts)
        if self._limits.max_calls is not None and self._calls > self._limits.max_calls:
            raise UsageError(
                f"--max-calls {self._limits.max_calls}: the simulator has to ask {self._calls} times up to here; "
                "raise it and run again: what was scored is kept"
            )
        gate = asyncio.Semaphore(self._limits.concurrency)
        async with self._endpoint.client(timeout=self._limits.timeout) as client:
            patient = client.with_options(max_retries=_RETRIES)
            return list(await asyncio.gather(*(self._answer(patient, gate, prompt) for prompt in prompts)))

    async def _answer(self, client: Any, gate: asyncio.Semaphore, prompt: str) -> tuple[Any, str | None]:
        from openai import OpenAIError

        async with gate:
            try:
                found = await client.completions.create(
                    model=self._endpoint.model, prompt=prompt, max_tokens=1, temperature=0, echo=True,
                    logprobs=_ALTERNATIVES,
                )  # fmt: skip
                return found.choices[0].logprobs, None
            except OpenAIError as error:
                words = " ".join(str(error).split())
                return None, self._endpoint.redact(f"{type(error).__name__}: {words}")[:300]
            except (LookupError, TypeError, ValueError, AttributeError):
                return None, f"{self._endpoint.place} sent no completion"


def read(question: Listing, logprobs: Any) -> Prediction:
    """The expectation over the numbers 0 to 10 where each unknown activation begins.

    Numbers that are not among the alternatives told count as impossible; where none is, there is no prediction.
    """
    tokens, tops = list(logprobs.tokens or ()), list(logprobs.top_logprobs or ())
    begins = dict(zip(accumulate(map(len, tokens), initial=0), range(len(tokens)), strict=False))
    starts = _starts("".join(tokens))[-len(question.starts) :] if question.starts else []
    if len(starts) < len(question.starts):
        return Prediction(None, "the server's tokens are not those of the prompt")
    at = [begins.get(start) for start in starts]
    values = [_expected(tops[number] if number is not None and number < len(tops) else None) for number in at]
    if question.starts and np.isnan(values).all():
        return Prediction(None, f"none of 0 to {_TOP} is among the {_ALTERNATIVES} likeliest tokens anywhere")
    return Prediction(np.append(values, math.nan)[question.of])


def _starts(text: str) -> list[int]:
    """Where unknown activations begin: found by what stands around them, which no text can hold.

    Not by their place in the prompt: characters that are split over tokens may come back with another length.
    """
    found, mark = [], f"\t{UNKNOWN}\n"
    at = text.find(mark)
    while at >= 0:
        found.append(at + 1)
        at = text.find(mark, at + 1)
    return found


def _expected(top: dict[str, float] | None) -> float:
    known = [(number, (top or {}).get(str(number))) for number in range(_TOP + 1)]
    shares = {number: math.exp(logprob) for number, logprob in known if logprob is not None}
    total = sum(shares.values())
    return sum(number * share for number, share in shares.items()) / total if total > 0 else math.nan


def _missing(logprobs: Any) -> str | None:
    """What an answer to the probe lacks."""
    if logprobs is None or not getattr(logprobs, "tokens", None):
        return "its answer has no logprobs"
    if not "".join(logprobs.tokens).count("\t1\n") >= 2:
        return "its answer has none of the prompt (echo is ignored)"
    tops = [each for each in (logprobs.top_logprobs or ())[1:] if each]
    if not tops:
        return "its answer has no top_logprobs"
    least = min(map(len, tops))
    return None if least >= _LEAST else f"it gives {least} alternatives per token, {_LEAST} are needed"
