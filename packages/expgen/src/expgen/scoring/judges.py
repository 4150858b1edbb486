"""Who detects and fuzzes: a program that reads the words, or a language model that is asked."""

from collections.abc import Sequence
from functools import cache, partial

import llmkit
import numpy as np
import runkit
from llmkit import Budget, Exchanges, Local, Message, Question, Reply, Server, named
from llmkit.cache import beside
from llmkit.exchanges import NAME as EXCHANGES
from pydantic import BaseModel, Field, create_model
from runkit import files

from expgen.explaining.marking import CLOSE, OPEN, escaped, marked, stretches
from expgen.options import ScoreOptions
from expgen.scoring.judging import Batch, Form, Judge, Test, Verdict
from expgen.simulating import Asked, Simulator

_TOKENS = 400  # most tokens of a verdict
_SYSTEM: dict[Form, str] = {
    "detection": "A feature of a language model fires at some tokens and is silent at others. You get a description "
    "of what it fires on, and numbered texts. Say for each text whether the feature fires anywhere in it, going by "
    "the description alone. It may be all of them, or none.",
    "fuzzing": "A feature of a language model fires at some tokens and is silent at others. You get a description of "
    f"what it fires on, and numbered texts with stretches marked between {OPEN} and {CLOSE}. Say for each text "
    "whether what is marked is where the feature fires, going by the description alone. It may be right in all of "
    "them, or in none.",
}
_FIELD = {"detection": "for each text in order, whether the feature fires in it",
          "fuzzing": "for each text in order, whether the right stretches are marked"}  # fmt: skip


class Words(Judge):
    """The offline judge: what the tokens simulator predicts, at its highest over a text, or its mean over the marks."""

    name = "tokens"

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def verdicts(self, batches: Sequence[Batch]) -> list[Verdict]:
        """One for each; none fails."""
        asked = [Asked(batch.description, test.excerpt.text) for batch in batches for test in batch.tests]
        values = (np.nan_to_num(np.asarray(each.values, dtype=float)) for each in self._simulator.predict(asked))
        return [Verdict([_reduced(batch.form, test, next(values)) for test in batch.tests]) for batch in batches]


def _reduced(form: Form, test: Test, values: np.ndarray) -> float:
    marked = values[test.marks]
    return float(marked.max(initial=0) if form == "detection" else marked.mean())


class Asker(Judge):
    """A language model, on a server or in this process, that is shown a description and some texts at a time."""

    def __init__(self, options: ScoreOptions, run: runkit.StageRun) -> None:
        self.name, self._options = options.judge, options
        self._backend = backend(options)
        self._exchanges = Exchanges(run.folder / "parts" / EXCHANGES, run.trace)

    def verdicts(self, batches: Sequence[Batch]) -> list[Verdict]:
        """One for each; what was not answered in the form asked for has a fault.

        Raises:
            LLMKitError: nobody can be asked, or the budget is spent; what was answered is kept.
        """
        most, record = self._options.max_calls, partial(self._exchanges, self._backend.name)
        budget = Budget() if most is None else Budget(calls=max(0, most - self._exchanges.calls))
        found: dict[str, Verdict] = {}
        asked = (question(batch) for batch in batches)
        for reply in llmkit.ask(asked, self._backend, cache=beside(self._options.out), budget=budget, record=record):
            record(reply)
            found[reply.key] = _told(reply)
        return [found[batch.key] for batch in batches]

    def record(self, run: runkit.StageRun) -> None:
        """Put all exchanges on record."""
        if content := self._exchanges.content():
            files.write_bytes(run.folder / EXCHANGES, content)
            run.artifact(EXCHANGES)


def backend(options: ScoreOptions) -> Server | Local:
    """Whom --judge names. Raises UsageError for an address or number that makes no sense."""
    return named(options.judge, options, max_tokens=_TOKENS)


def question(batch: Batch) -> Question:
    """What is asked about a batch: each text on a line of its own, where it cannot pass for a part of the question."""
    listed = "\n".join(f"{number}. {_shown(batch.form, test)}" for number, test in enumerate(batch.tests, 1))
    said = f"Description: {escaped(batch.description)}\n\nTexts:\n{listed}"
    messages = Message(role="system", content=_SYSTEM[batch.form]), Message(role="user", content=said)
    return Question(batch.key, messages, answer_form(batch.form, len(batch.tests)))


def _shown(form: Form, test: Test) -> str:
    text = test.excerpt.text
    return escaped(text.text) if form == "detection" else marked(stretches(text, test.marks.astype(float), 0.5))


@cache
def answer_form(form: Form, count: int) -> type[BaseModel]:
    """The form of an answer about so many texts."""
    what = Field(min_length=count, max_length=count, description=f"{count} answers: {_FIELD[form]}.")
    return create_model("Answers", answers=(list[bool], what))


def _told(reply: Reply) -> Verdict:
    if reply.value is None:
        return Verdict(None, f"{reply.status}: {reply.error}")
    return Verdict([float(answer) for answer in reply.value.model_dump()["answers"]])
