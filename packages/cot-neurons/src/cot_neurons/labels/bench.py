"""Who judges, in which order, and what becomes of their answers when a run is killed."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import polars as pl
import runkit
from llmkit import Budget
from runkit.errors import UsageError

from cot_neurons import tables
from cot_neurons.labels import controls
from cot_neurons.labels.case import Case
from cot_neurons.labels.exchanges import Exchanges
from cot_neurons.labels.judge import Asked
from cot_neurons.labels.rules import Rules
from cot_neurons.options import JudgeOptions

CACHE = "llm-cache.sqlite"


class Judged(NamedTuple):
    """What the judges said: the tables `verdicts` and `controls` of each of them."""

    verdicts: list[pl.DataFrame]
    controls: list[pl.DataFrame]


def judges(options: JudgeOptions) -> list[Rules | Asked]:
    """The judges that the options name.

    Raises:
        UsageError: the same one twice.
    """
    named = [options.judge, *([options.second_judge] if options.second_judge else [])]
    if len(set(named)) < len(named):
        raise UsageError(f"--second-judge {options.second_judge} is --judge as well: agreement needs another one")
    return [Rules() if name == Rules.name else Asked.of(name, options) for name in named]


def cache(options: JudgeOptions) -> Path:
    """The file of all answers: beside the run folders, so that a fresh run repeats no answered call."""
    folder = options.out.expanduser().absolute().parent if options.out else Path("runs").absolute()
    return folder / CACHE


def forecast(case: Case) -> list[str]:
    """What asking would take, a line for each judge; nothing is asked or written."""
    lines: list[str] = []
    with TemporaryDirectory() as folder:
        known = cache(case.options) if cache(case.options).is_file() else Path(folder) / CACHE
        for judge in judges(case.options):
            if isinstance(judge, Rules):
                lines.append(f"{judge.name}: {len(case.candidates)} neurons to judge; nobody is asked")
                continue
            guess = judge.forecast(case, known)
            lines.append(
                f"{judge.name}: {len(case.candidates)} neurons to judge, {guess.questions} questions with controls, "
                f"{guess.cached} answered already: {guess.calls} requests, at most {guess.prompt_tokens} prompt and "
                f"{guess.completion_tokens} completion tokens"
            )
    return lines


def judge_all(run: runkit.StageRun, case: Case) -> Judged:
    """Hear all judges. What one has said stands when a killed run goes on; exchanges become an artifact.

    Raises:
        LLMKitError: a judge cannot be asked, or the budget is spent; what was answered is kept.
    """
    heard, parts, exchanges = Judged([], []), run.parts("verdicts"), Exchanges(run)
    named = judges(case.options)
    for _, judge in parts.missing([(each.name, each) for each in named]):
        if isinstance(judge, Asked):
            record = partial(exchanges, judge.backend.name)
            parts.write(judge.name, judge.judged(case, cache(case.options), _left(case.options, exchanges), record))
    exchanges.finish()
    said = parts.collect() if parts.keys() else None
    for judge in named:
        if isinstance(judge, Rules):
            heard.verdicts.append(judge.verdicts(case))
            heard.controls.append(judge.controls(case))
        elif said is not None:
            _hear(heard, judge.name, said.filter(pl.col("judge") == judge.name))
    return heard


def _left(options: JudgeOptions, exchanges: Exchanges) -> Budget:
    """The budget that former judges have left."""
    return Budget() if options.max_calls is None else Budget(calls=options.max_calls - exchanges.calls)


def _hear(heard: Judged, judge: str, said: pl.DataFrame) -> None:
    heard.verdicts.append(said.filter(control="concepts").drop("control").select(list(tables.columns(tables.Verdicts))))
    counts = {control: _labelled(said.filter(control=control)) for control in ("concepts", "decoys", "shuffled")}
    heard.controls.append(controls.table(judge, counts))


def _labelled(said: pl.DataFrame) -> tuple[int, int]:
    """How many lists got a verdict, and how many of these a label."""
    answered = said.filter(pl.col("status").is_in(["labelled", "none"]))
    return len(answered), len(answered.filter(status="labelled"))


def told(verdicts: pl.DataFrame) -> Sequence[str]:
    """What a person should know of verdicts that are none."""
    counts = dict(verdicts["status"].value_counts().iter_rows())
    lines: list[str] = []
    if counts.get("error"):
        lines.append(
            f"{counts['error']} neurons have no verdict because asking failed (status error): --fresh asks about them "
            "again, and takes the answers there are from the cache"
        )
    if counts.get("invalid"):
        lines.append(
            f"{counts['invalid']} neurons have no verdict because the judge did not keep to the form (invalid)"
        )
    return lines
