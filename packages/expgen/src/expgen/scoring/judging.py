"""Detection and fuzzing: yes-or-no questions about texts, answered by someone who has the description.

Detection: in which of these texts does the feature fire? Fuzzing: in which of them are the tokens marked at which it
fires, rather than as many others? The score is the AUROC of the answers. Paulo et al. (2024).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool

from expgen.scoring import Evidence, Score, Scorer, Trial, generator, statistics
from expgen.scoring.material import Material, fires, truth
from expgen.store import Excerpt

PER_PROMPT = 5
Form = Literal["detection", "fuzzing"]


class Test(NamedTuple):
    """One text. `number`: which of the material; `marks` [T]: tokens that are meant; `positive`: the right answer."""

    number: int
    excerpt: Excerpt
    marks: Bool[np.ndarray, " T"]
    positive: bool


class Batch(NamedTuple):
    """Texts that are judged together. `key`: no other batch of a run has it."""

    key: str
    form: Form
    description: str
    tests: tuple[Test, ...]


class Verdict(NamedTuple):
    """A number per text, the higher the likelier a yes; or why there is none."""

    values: Sequence[float] | None
    fault: str | None = None


class Judge(ABC):
    """Who answers. `name`: as it was asked for."""

    name: str

    @abstractmethod
    def verdicts(self, batches: Sequence[Batch]) -> list[Verdict]:
        """A verdict on each, in order."""


class _Judged(Scorer):
    """AUROC of a judge's answers."""

    form: ClassVar[Form]

    def __init__(self, judge: Judge, seed: int, draws: int) -> None:
        super().__init__(seed, draws)
        self._judge = judge

    @abstractmethod
    def rounds(self, given: Material, random: np.random.Generator) -> Iterator[list[Test]]:
        """The tests; those of one round may stand in one prompt, and no text comes twice in it."""

    def batches(self, trial: Trial, given: Material) -> list[Batch]:
        """What the judge is asked; which texts, in which order and how marked is the same for every description."""
        random = generator(self.seed, str(trial.feature), given.split, self.form)
        found: list[Batch] = []
        for number, tests in enumerate(self.rounds(given, random)):
            order = [tests[i] for i in random.permutation(len(tests))]
            for start in range(0, len(order), PER_PROMPT):
                some = tuple(order[start : start + PER_PROMPT])
                texts = ".".join(str(test.excerpt.sequence) for test in some)
                whose = f"{self.form}/{trial.feature}/{trial.kind}-{trial.candidate}"
                found.append(Batch(f"{whose}/{given.split}/{number}/{texts}", self.form, trial.description, some))
        return found

    def evidence(self, work: Sequence[tuple[Trial, Material]]) -> list[Evidence]:
        """Samples are [2, answers about one text]: the answer, and 1 where it should be yes, 0 where no."""
        asked = [self.batches(trial, given) for trial, given in work]
        verdicts = iter(self._judge.verdicts([batch for each in asked for batch in each]))
        return [_evidence([(batch, next(verdicts)) for batch in each]) for each in asked]

    def measured(self, samples: list[np.ndarray], random: np.random.Generator) -> Score:
        """AUROC over all answers; the interval draws texts."""
        answers, positive = np.concatenate(samples, axis=1)
        if not statistics.varies(positive):
            told = "every one of these texts: a larger --random may help" if positive[0] else "none of these texts"
            return Score.none("constant", f"it fires in {told}", len(samples))
        of = np.repeat(np.arange(len(samples)), [each.shape[1] for each in samples])
        area = statistics.auroc(answers, positive > 0, of)
        return Score(*statistics.told(area, len(samples), self.draws, random), len(samples), "ok", None)


class Detection(_Judged):
    """Texts in which the feature fires, and texts in which it does not."""

    name = form = "detection"

    def rounds(self, given: Material, random: np.random.Generator) -> Iterator[list[Test]]:  # noqa: ARG002
        """All texts at once."""
        yield [
            Test(number, each, each.text.valid, bool(fires(each, given.peak).any()))
            for number, each in enumerate(given.excerpts)
        ]


class Fuzzing(_Judged):
    """Texts in which the feature fires, each once with the right tokens marked and once with as many wrong ones."""

    name = form = "fuzzing"

    def rounds(self, given: Material, random: np.random.Generator) -> Iterator[list[Test]]:
        """Half of the texts are marked rightly first, the others wrongly; then the other way round."""
        pairs = [pair for n, each in enumerate(given.excerpts) if (pair := _pair(n, each, given.peak, random))]
        rightly = random.permutation(len(pairs)) % 2
        for turn in range(2):
            yield [pair[(first + turn) % 2] for pair, first in zip(pairs, rightly, strict=True)]


def _pair(number: int, each: Excerpt, peak: float, random: np.random.Generator) -> tuple[Test, Test] | None:
    """The text marked rightly and wrongly; None where it does not fire, or nowhere does not."""
    right = fires(each, peak)
    others = np.flatnonzero(np.isfinite(truth(each)) & ~right)
    count = min(int(right.sum()), len(others))
    if not count:
        return None
    wrong = np.zeros_like(right)
    wrong[random.choice(others, count, replace=False)] = True
    return Test(number, each, right, True), Test(number, each, wrong, False)


def _evidence(judged: Sequence[tuple[Batch, Verdict]]) -> Evidence:
    """Answers by text; a text about which nothing was answered is a fault."""
    answers: dict[int, list[tuple[float, bool]]] = {}
    faults: dict[int, str] = {}
    for batch, verdict in judged:
        for at, test in enumerate(batch.tests):
            if verdict.values is None:
                faults[test.number] = verdict.fault or "no answer"
            else:
                answers.setdefault(test.number, []).append((verdict.values[at], test.positive))
    lost = [fault for number, fault in faults.items() if number not in answers]
    return Evidence([np.array(answers[number], dtype=float).T for number in sorted(answers)], lost)
