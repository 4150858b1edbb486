"""Who judges, in which order, and what becomes of their answers when a run is killed."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import polars as pl
import runkit
from llmkit import Budget, Exchanges, cache
from llmkit.exchanges import NAME as EXCHANGES
from runkit import files
from runkit.errors import UsageError

from cot_neurons import tables
from cot_neurons.labels import controls
from cot_neurons.labels.case import Case
from cot_neurons.labels.judge import Asked
from cot_neurons.labels.rules import Rules
from cot_neurons.options import JudgeOptions


class Judged(NamedTuple):
    """What the judges said: the tables `verdicts` and `controls` of each of them, by name."""

    verdicts: dict[str, pl.DataFrame]
    controls: dict[str, pl.DataFrame]


def judges(options: JudgeOptions) -> list[Rules | Asked]:
    """The judges that the options name.

    Raises:
        UsageError: the same one twice.
    """
    named = [options.judge, *([options.second_judge] if options.second_judge else [])]
    if len(set(named)) < len(named):
        raise UsageError(f"--second-judge {options.second_judge} is --judge as well: agreement needs another one")
    return [Rules() if name == Rules.name else Asked.of(name, options) for name in named]


def forecast(case: Case) -> list[str]:
    """What asking would take, a line for each judge; nothing is asked or written."""
    lines: list[str] = []
    for judge in judges(case.options):
        if isinstance(judge, Rules):
            lines.append(f"{judge.name}: {len(case.candidates)} neurons to judge; nobody is asked")
            continue
        guess = judge.forecast(case, cache.beside(case.options.out))
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
    parts, exchanges = run.parts("verdicts"), Exchanges(run.folder / "parts" / EXCHANGES, run.trace)
    named = judges(case.options)
    for _, judge in parts.missing((each.name, each) for each in named if isinstance(each, Asked)):
        budget, record = _left(case.options, exchanges), partial(exchanges, judge.backend.name)
        parts.write(judge.name, judge.judged(case, cache.beside(case.options.out), budget, record))
    if content := exchanges.content():
        files.write_bytes(run.folder / EXCHANGES, content)
        run.artifact(EXCHANGES)
    asked = {said["judge"][0]: said for said in parts.pieces() if len(said)} if parts.keys() else {}
    heard = {judge.name: _heard(judge, case, asked.get(judge.name)) for judge in named}
    return Judged({name: said for name, (said, _) in heard.items()}, {name: made for name, (_, made) in heard.items()})


def _left(options: JudgeOptions, exchanges: Exchanges) -> Budget:
    """The budget that former judges have left."""
    return Budget() if options.max_calls is None else Budget(calls=options.max_calls - exchanges.calls)


def _heard(judge: Rules | Asked, case: Case, said: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables `verdicts` and `controls` of one judge; `said`: what one who was asked answered, if to anything."""
    if isinstance(judge, Rules):
        return judge.verdicts(case), judge.controls(case)
    said = _nothing() if said is None else said
    counts = {control: _labelled(said.filter(control=control)) for control in ("concepts", "decoys", "shuffled")}
    return said.filter(control="concepts").drop("control"), controls.table(judge.name, counts)


def _nothing() -> pl.DataFrame:
    """What a judge says who is asked nothing, because there is no candidate."""
    return pl.DataFrame(schema={"control": pl.String, **tables.columns(tables.Verdicts)})


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
