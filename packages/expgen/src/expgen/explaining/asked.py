"""The explainer that is a language model: one question per candidate, answered in a fixed form."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from llmkit import Budget, Exchanges, Local, Reply, Server, ask, cache, estimate, named

from expgen.explaining import Candidate
from expgen.explaining.prompts import Prompt, Prompter
from expgen.options import DescribeOptions
from expgen.store import Exemplars, Feature

_TOKENS = 1000  # most tokens of an answer; some models think before it


class Asked:
    """A model on a server, or one in this process. What was answered once is in the cache, and not asked again."""

    def __init__(self, options: DescribeOptions, exemplars: Exemplars, exchanges: Exchanges) -> None:
        self.name = options.explainer
        self._options, self._exchanges = options, exchanges
        self._backend, self._prompter = backend(options), Prompter(options, exemplars)

    def describe(self, features: Sequence[Feature]) -> list[Candidate]:
        """A candidate for every question, answered or not.

        Raises:
            LLMKitError: the explainer cannot be asked, or the budget is spent; what was answered is kept.
        """
        asked = [(feature, prompt) for feature in features for prompt in self._prompter.prompts(feature)]
        replies: dict[tuple[str, int], Reply] = {}
        record = partial(self._exchanges, self._backend.name)
        for reply in ask(
            (prompt.question for _, prompt in asked),
            self._backend,
            cache=cache.beside(self._options.out),
            budget=self._left(),
            record=record,
        ):
            record(reply)
            replies[reply.key, reply.sample] = reply
        return [_candidate(feature, prompt, replies) for feature, prompt in asked]

    def _left(self) -> Budget:
        """What former pieces have left of the budget."""
        most = self._options.max_calls
        return Budget() if most is None else Budget(calls=most - self._exchanges.calls)


def backend(options: DescribeOptions) -> Server | Local:
    """Whoever --explainer names. A model in this process is greedy: its candidates differ in what it is shown.

    Raises:
        UsageError: an address or a number that makes no sense.
    """
    found = named(options.explainer, options, max_tokens=_TOKENS)
    return replace(found, temperature=options.temperature) if isinstance(found, Server) else found


def forecast(options: DescribeOptions, exemplars: Exemplars, features: Sequence[Feature]) -> str:
    """What asking about these features would take; asks nothing."""
    prompter = Prompter(options, exemplars)
    questions = (prompt.question for feature in features for prompt in prompter.prompts(feature))
    guess = estimate(questions, backend(options), cache=cache.beside(options.out))
    return (
        f"{guess.questions} questions, {guess.cached} answered already: {guess.calls} requests, at most "
        f"{guess.prompt_tokens} prompt and {guess.completion_tokens} completion tokens"
    )


def _candidate(feature: Feature, prompt: Prompt, replies: dict[tuple[str, int], Reply]) -> Candidate:
    reply = replies[prompt.question.key, prompt.question.sample]
    if reply.value is None:
        status = "invalid" if reply.status == "invalid" else "error"
        return Candidate(feature, reply.sample, None, status, reply.error, prompt.shown)
    said = " ".join(reply.value.model_dump()["description"].split())
    return Candidate(feature, reply.sample, said, "ok", None, prompt.shown)
