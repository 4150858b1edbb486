"""The scorers that the options name, and what they would take."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import runkit
from llmkit import estimate
from llmkit.cache import beside

from expgen.options import ScoreOptions
from expgen.scoring import Scorer, Trial
from expgen.scoring.cases import Cases, Described
from expgen.scoring.intervention import Intervention
from expgen.scoring.judges import Asker, Words, backend, question
from expgen.scoring.judging import Batch, Detection, Fuzzing, Judge, Verdict
from expgen.scoring.material import material
from expgen.scoring.simulation import Simulation
from expgen.simulating.opening import open_simulator
from expgen.simulating.tokens import Tokens

_JUDGED = {"detection": Detection, "fuzzing": Fuzzing}


class Scorers(NamedTuple):
    """The scorers in the order asked for, and who judges where somebody does."""

    scorers: Sequence[Scorer]
    judge: Judge | None

    @classmethod
    def open(cls, cases: Cases, run: runkit.StageRun) -> "Scorers":
        """Raises UsageError where a scorer lacks what it needs."""
        options = cases.options
        judge = _judge(options, run) if set(_JUDGED) & set(options.scorers) else None
        return cls([_scorer(name, cases, run, judge) for name in options.scorers], judge)

    def record(self, run: runkit.StageRun) -> None:
        """Put what was asked on record."""
        if isinstance(self.judge, Asker):
            self.judge.record(run)


def _judge(options: ScoreOptions, run: runkit.StageRun) -> Judge:
    if options.judge != Words.name:
        return Asker(options, run)
    run.log("judge tokens: words of the descriptions are looked up in the texts; nobody is asked")
    return Words(Tokens())


def _scorer(name: str, cases: Cases, run: runkit.StageRun, judge: Judge | None) -> Scorer:
    options = cases.options
    if judge is not None and name in _JUDGED:
        return _JUDGED[name](judge, options.seed, options.draws)
    if name == Simulation.name:
        return Simulation(open_simulator(options, run), cases.exemplars, options.seed, options.draws)
    return Intervention.open(cases)


def forecast(cases: Cases) -> Iterator[str]:
    """What scoring would take, in lines: at most, as if no candidate were dropped. Nothing is asked or written."""
    options = cases.options
    features = [each for _, group in cases.groups() for each in group if each.candidates]
    counts = sum(len(each.candidates) for each in features)
    yield f"{len(cases.rows):,} features, of which {len(features):,} have a description; {counts:,} candidates"
    texts = options.shown + options.random
    for number, name in enumerate(options.scorers):
        trials = (counts if number == 0 else 0) + len(features) * (3 if name != "intervention" else 2)
        if name in _JUDGED and options.judge != Words.name:
            batches = [batch for each in features for batch in _asked(cases, each, name, selects=number == 0)]
            guess = estimate((question(batch) for batch in batches), backend(options), cache=beside(options.out))
            yield (
                f"{name} by {options.judge}: at most {guess.calls:,} requests ({guess.cached:,} answered already), "
                f"{guess.prompt_tokens:,} prompt and {guess.completion_tokens:,} completion tokens"
            )
        else:
            who = {"simulation": options.simulator, "intervention": "the model"}.get(name, options.judge)
            yield f"{name} by {who}: {trials:,} descriptions, each on at most {texts} texts"


class _Nobody(Judge):
    """Stands in for a judge where only the questions are wanted."""

    def verdicts(self, batches: Sequence[Batch]) -> list[Verdict]:
        raise NotImplementedError


def _asked(cases: Cases, each: Described, name: str, *, selects: bool) -> Iterator[Batch]:
    """What a judge would be asked about a feature; the longest candidate stands for the one to be chosen."""
    options, scorer = cases.options, _JUDGED[name](_Nobody(), cases.options.seed, cases.options.draws)
    nulls = cases.nulls(each.feature)
    longest = max(each.candidates, key=lambda trial: len(trial.description))
    reported = [longest, *(null for kind in scorer.nulls if (null := nulls[kind]))]
    rounds: list[tuple[str, Sequence[Trial]]] = [(options.report, reported)]
    for split, trials in [(options.select, each.candidates)] * selects + rounds:
        given = material(cases.exemplars, each.feature, split, options.shown, options.random)
        yield from (batch for trial in trials for batch in scorer.batches(trial, given))
