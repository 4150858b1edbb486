"""Stage `errors`: whether memory or reasoning failed in each wrong answer, and whether steps are what they are called.

Jin et al. (2025), sections 5.2 and 5.3. On a toy world by the exact checker; elsewhere, or beside it, by an LLM that
judges, whose worth the checker then tells.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import runkit
from llmkit import Exchanges
from llmkit.exchanges import NAME as EXCHANGES
from runkit import files

from memreason import errors_figures, tables
from memreason.judging import agreement, checker
from memreason.judging.asked import Asked, Verdicts
from memreason.judging.case import CHECKER, Case
from memreason.judging.confidence import confidence
from memreason.judging.shares import Share, blamed, kept
from memreason.options import ErrorsOptions


def errors(options: ErrorsOptions) -> Path | None:
    """Run the stage: tables `blame`, `decoupling`, and `agreement` where an LLM judges a toy world.

    Returns its folder; None for a dry run, which is no run.

    Raises:
        UsageError: no such run, answers to other questions than the data's, or nobody who could judge.
        LLMKitError: the judge cannot be asked, or the budget is spent; what was answered is kept.
    """
    if options.dry_run:
        print(_forecast(options))
        return None
    with runkit.stage("memreason.errors", options) as run:
        if not run.finished:
            _errors(run, options, Case.open(options))
        return run.folder


def _errors(run: runkit.StageRun, options: ErrorsOptions, case: Case) -> None:
    exact = _exact(case)
    asked = _asked(run, options, case)
    blame = pl.DataFrame([*exact.blame, *asked.blame], tables.columns(tables.Blame))
    steps = pl.DataFrame([*exact.contents, *asked.contents], tables.columns(tables.Decoupling))
    run.table("blame", blame, tables.Blame)
    run.table("decoupling", steps, tables.Decoupling)
    if options.judge and case.world:
        run.table("agreement", agreement.agreement(blame, steps), tables.Agreement)
        run.metrics(agreement.measures(blame, steps))
    for line in _missing(blame, steps):
        run.log(line)
    run.figure("errors", errors_figures.errors(blame, steps, case.answers))
    _conclude(run, case, blame, steps)


def _exact(case: Case) -> Verdicts:
    """The exact checker's verdicts, none where there is no world to check against."""
    if case.world is None:
        return Verdicts([], [])
    return Verdicts(list(checker.blame(case.world, case.wrong)), list(checker.contents(case.world, case.looked)))


def _asked(run: runkit.StageRun, options: ErrorsOptions, case: Case) -> Verdicts:
    """The LLM's verdicts, none where none was named. What the cache knows is not asked again."""
    if options.judge is None:
        return Verdicts([], [])
    judge = Asked.of(options.judge, options)
    exchanges = Exchanges(run.folder / "parts" / EXCHANGES, run.trace)
    verdicts = judge.verdicts(case, partial(exchanges, judge.backend.name))
    files.write_bytes(run.folder / EXCHANGES, exchanges.content())
    run.artifact(EXCHANGES)
    return verdicts


def _forecast(options: ErrorsOptions) -> str:
    case = Case.open(options)
    told = f"{len(case.wrong)} wrong answers, and the steps of {len(case.looked)} answers"
    if options.judge is None:
        return f"{told}; the exact checker judges, nobody is asked"
    guess = Asked.of(options.judge, options).forecast(case)
    return (
        f"{told}; {options.judge}: {guess.questions} questions, {guess.cached} answered already: {guess.calls} "
        f"requests, at most {guess.prompt_tokens} prompt and {guess.completion_tokens} completion tokens"
    )


def _missing(blame: pl.DataFrame, steps: pl.DataFrame) -> Iterator[str]:
    """What a person should know of verdicts that are none."""
    for what, frame in (("wrong answers", blame), ("steps", steps)):
        asked = frame.filter(pl.col("judge") != CHECKER)
        if lost := len(asked.filter(status="error")):
            yield (
                f"{lost} of {len(asked)} {what} have no verdict because asking failed (status error; left out of all "
                "shares): --fresh asks for them again, and takes the answers there are from the cache"
            )
        if wild := len(asked.filter(status="invalid")):
            yield f"{wild} of {len(asked)} {what} have no verdict because the judge did not keep to the form (invalid)"


def _conclude(run: runkit.StageRun, case: Case, blame: pl.DataFrame, steps: pl.DataFrame) -> None:
    wrong = len(case.answers) - int(case.answers["correct"].sum())
    run.metrics({"answers": len(case.answers), "wrong": wrong, "judged": len(case.wrong)})
    sure = confidence(case.answers)
    run.metrics(sure)
    told: dict[str, Any] = {"wrong answers": f"{wrong} of {len(case.answers)}, {len(case.wrong)} judged"}
    for judge in dict.fromkeys([*blame["judge"], *steps["judge"]]):
        who = "checker" if judge == CHECKER else "judge"
        of_it = blame.filter(judge=judge)
        run.metrics(_lost(who, of_it) | _shares(f"{who}/blame", blamed(of_it)))
        run.metrics(_shares(f"{who}/kept", kept(steps.filter(judge=judge))))
        told |= {f"{judge}: {name} to blame": _words(share) for name, share in blamed(of_it).items()}
        told |= {
            f"{judge}: {kind} steps that are": _words(share) for kind, share in kept(steps.filter(judge=judge)).items()
        }
    if "confidence_auroc" in sure:
        told["right answers surer (AUROC)"] = f"{sure['confidence_auroc']:.3f}"
    run.summary(told)


def _lost(who: str, blame: pl.DataFrame) -> dict[str, float]:
    """Verdicts that an LLM did not give."""
    if who == CHECKER:
        return {}
    return {f"{who}/{name}": len(blame.filter(status=name)) for name in ("invalid", "error")}


def _shares(name: str, shares: dict[str, Share]) -> dict[str, float]:
    return {
        f"{name}/{key}{end}": value
        for key, share in shares.items()
        for end, value in (("", share.value), ("_low", share.low), ("_high", share.high), ("_n", share.n))
    }


def _words(share: Share) -> str:
    return f"{share.hits} of {share.n} ({100 * share.low:.0f} to {100 * share.high:.0f} %)"
