"""The judge that is a language model: one question per wrong answer, and one about all steps of an answer."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from llmkit import Budget, Estimate, Exchange, Local, Question, Reply, Server, ask, cache, estimate, named
from runkit.progress import track

from memreason.judging import prompts
from memreason.judging.case import Case, Said
from memreason.options import ErrorsOptions

_TOKENS = 600  # most tokens of a verdict


class Verdicts(NamedTuple):
    """Rows of the tables `blame` and `decoupling`."""

    blame: list[dict[str, Any]]
    contents: list[dict[str, Any]]


@dataclass(frozen=True)
class Asked:
    """A judge that is asked: a model on a server, or one in this process.

    Attributes:
        name: as the user wrote it; the tables call the judge so.
    """

    name: str
    backend: Server | Local
    options: ErrorsOptions

    @classmethod
    def of(cls, judge: str, options: ErrorsOptions) -> "Asked":
        """The judge that is named so. Raises UsageError for an address or number that makes no sense."""
        backend = named(judge, options, max_tokens=_TOKENS)
        return cls(judge, backend, options)

    def forecast(self, case: Case) -> Estimate:
        """What asking would take; asks nothing."""
        return estimate(self._questions(case), self.backend, cache=cache.beside(self.options.out))

    def verdicts(self, case: Case, record: Callable[[Exchange | Reply], None]) -> Verdicts:
        """A verdict on every wrong answer, and on the steps, given or not.

        Raises:
            LLMKitError: the judge cannot be asked, or the budget is spent; what was answered is kept.
        """
        questions = self._questions(case)
        work = ask(
            questions, self.backend, cache=cache.beside(self.options.out), budget=Budget(self.options.max_calls),
            record=record,
        )  # fmt: skip
        replies: dict[str, Reply] = {}
        for reply in track(work, f"verdicts of {self.name}", len(questions)):
            record(reply)
            replies[reply.key] = reply
        return Verdicts(
            [self._blame(each, replies[f"blame/{each.id}"]) for each in case.wrong],
            [row for each in self._looked(case) for row in self._contents(each, replies[f"contents/{each.id}"])],
        )

    def _questions(self, case: Case) -> list[Question]:
        """A judge cannot know what is true of a made-up world: there it is told the facts that are needed."""
        about = case.world.facts if case.world else lambda _: []
        blame = [prompts.blame(each, about(each.question)) for each in case.wrong]
        return [*blame, *(prompts.contents(each) for each in self._looked(case))]

    def _looked(self, case: Case) -> list[Said]:
        return case.looked if self.options.decoupling else []

    def _blame(self, said: Said, reply: Reply) -> dict[str, Any]:
        row = {"id": said.id, "judge": self.name, "status": reply.status}
        if reply.value is None:
            return {**row, "blame": None, "step": None, "rationale": reply.error}
        return {**row, **reply.value.model_dump()}

    def _contents(self, said: Said, reply: Reply) -> Iterable[dict[str, Any]]:
        told = reply.value.model_dump()["contents"] if reply.value else [None] * len(said.steps)
        for number, (step, content) in enumerate(zip(said.steps, told, strict=True), start=1):
            yield {"id": said.id, "step": number, "judge": self.name, "kind": step.kind, "content": content,
                   "status": reply.status}  # fmt: skip
