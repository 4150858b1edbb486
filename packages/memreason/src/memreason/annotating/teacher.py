"""Whoever annotates: a model on a server, or one in this process."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from llmkit import Budget, Exchanges, Local, Question, Reply, Server, ask, cache, estimate, named
from runkit.progress import track

from memreason.annotating.rounds import Case, first_questions
from memreason.options import AnnotateOptions

_TOKENS = 2000  # most tokens of an answer; some models think before it
_WARMER = 0.3  # what each further try adds to the temperature


class Teacher:
    """Asks, within the budget, and puts all that is said on record. What was answered once is not asked again."""

    def __init__(self, options: AnnotateOptions, exchanges: Exchanges) -> None:
        """Raises UsageError: an address or a number that makes no sense."""
        self._options, self._exchanges = options, exchanges
        self._backend = backend(options)

    def ask(self, questions: list[Question], attempt: int) -> dict[str, Reply]:
        """A reply to each question, by key.

        Raises:
            LLMKitError: the teacher cannot be asked, or the budget is spent; what was answered is kept.
        """
        if not questions:
            return {}
        record = partial(self._exchanges, self._backend.name)
        replies: dict[str, Reply] = {}
        store = cache.beside(self._options.out)
        teacher = _warmed(self._backend, attempt)
        work = ask(questions, teacher, cache=store, budget=self._left(), record=record)
        for reply in track(work, "answers", len(questions)):
            record(reply)
            replies[reply.key] = reply
        return replies

    def _left(self) -> Budget:
        """What has been left of the budget."""
        most = self._options.max_calls
        return Budget() if most is None else Budget(calls=max(0, most - self._exchanges.calls))


def backend(options: AnnotateOptions) -> Server | Local:
    """Whoever --teacher names. A model in this process is greedy, whatever the temperature."""
    found = named(options.teacher, options, max_tokens=_TOKENS)
    return replace(found, temperature=options.temperature) if isinstance(found, Server) else found


def forecast(options: AnnotateOptions, cases: Sequence[Case]) -> str:
    """What asking about these questions would take; asks nothing."""
    guess = estimate(first_questions(cases, options.order), backend(options), cache=cache.beside(options.out))
    return (
        f"{options.teacher}: {guess.questions} plans, {guess.cached} answered already: {guess.calls} requests, at most "
        f"{guess.prompt_tokens} prompt and {guess.completion_tokens} completion tokens; then, per question, a request "
        f"for each memory step and one for what follows, and all of it up to {options.tries} times where checks fail"
    )


def _warmed(teacher: Server | Local, attempt: int) -> Server | Local:
    """Warmer at each further try, so that it does not say the same again."""
    if not isinstance(teacher, Server) or not attempt:
        return teacher
    return replace(teacher, temperature=min(2.0, (teacher.temperature or 0.0) + _WARMER * attempt))
