"""Stage `llm-baseline`: the hard test of complex reasoning, put to a language model as text.

Wang et al. (2024), section 5 and appendix F: the model sees the training facts as sentences about people's ages, all
those of the attribute or only those near the two people asked about, and answers at once or thinks first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import runkit
from llmkit import Budget, Exchanges, Local, Reply, Server, ask, cache, estimate, named
from llmkit.exchanges import NAME as EXCHANGES
from runkit import files, journal, provenance, refs, runs
from runkit.claim import JOURNAL
from runkit.errors import UsageError
from runkit.progress import track

from grokked_reasoning import places, tables
from grokked_reasoning.baselines import results
from grokked_reasoning.baselines.knowledge import HARD, Asked, Knowledge
from grokked_reasoning.baselines.prompts import Teller
from grokked_reasoning.options import DATA, LlmBaselineOptions

_FEW = 0.5  # share of replies in the form asked for, below which it is said


@dataclass(frozen=True)
class Case:
    """What is asked of whom."""

    options: LlmBaselineOptions
    backend: Server | Local
    teller: Teller
    asked: list[Asked]
    grokked: tuple[str, int, float] | None

    @classmethod
    def open(cls, options: LlmBaselineOptions) -> "Case":
        """Everything read and checked, before anything is asked.

        Raises:
            UsageError: data of another task, or a grokked model that was evaluated on other data.
            DataError: a training row that cannot be told.
        """
        grokked = _grokked(options) if options.grokked else None
        knowledge = Knowledge.of(places.data(options.data, "target"))
        return cls(
            options,
            named(options.model, options, max_tokens=options.max_new_tokens),
            Teller(knowledge, options.context, options.answer, options.seed),
            drawn(knowledge.questions, options.limit, options.seed),
            grokked,
        )


def llm_baseline(options: LlmBaselineOptions) -> Path | None:
    """Run the stage: tables `answers` and `comparison`, and exchanges.jsonl.

    Returns its folder; None for a dry run, which is no run.
    """
    if options.dry_run:
        print(_forecast(Case.open(options)))
        return None
    with runkit.stage("grokked-reasoning.llm-baseline", options) as run:
        if not run.finished:
            _run(run, Case.open(options))
        return run.folder


def _run(run: runkit.StageRun, case: Case) -> None:
    table = results.answers(case.teller, case.asked, _replies(run, case))
    for line in _told(table):
        run.log(line)
    run.table("answers", table, tables.Answers)
    compared = results.comparison(case.options.model, case.teller, table, case.grokked)
    run.table("comparison", compared, tables.Comparison)
    found, answered = results.counts(table), len(table.filter(pl.col("outcome") != "error"))
    shares = {name.replace(" ", "_"): count / answered for name, count in found.items()} if answered else {}
    run.metrics(shares | {"questions": len(table), "answered": answered, "errors": len(table) - answered})
    if answered:
        run.metrics({"accuracy": shares["correct"]})
    run.metrics({"facts": float(table["facts"].to_numpy().mean())})
    low, high = results.wilson(found["correct"], answered)
    told = {name: f"{count} of {answered}" for name, count in found.items()}
    luck = compared.filter(kind="chance").select("system", "correct")
    by_chance = {f"chance: {name}": f"{100 * right:.1f} %" for name, right in luck.iter_rows()}
    run.summary(told | {"correct, 95 %": f"{100 * low:.1f} to {100 * high:.1f} %"} | by_chance)


def _replies(run: runkit.StageRun, case: Case) -> dict[str, Reply]:
    """A reply to every question. What the cache knows is not asked again, so a resumed run asks only the rest.

    Raises:
        LLMKitError: the model cannot be asked, or the budget is spent; what was answered is kept.
    """
    exchanges = Exchanges(run.folder / "parts" / EXCHANGES, run.trace)
    record = partial(exchanges, case.backend.name)
    work = ask(
        case.teller.questions(case.asked),
        case.backend,
        cache=cache.beside(case.options.out),
        budget=Budget(calls=case.options.max_calls),
        record=record,
    )
    replies: dict[str, Reply] = {}
    for reply in track(work, "questions", len(case.asked)):
        record(reply)
        replies[reply.key] = reply
    files.write_bytes(run.folder / EXCHANGES, exchanges.content())
    run.artifact(EXCHANGES)
    return replies


def _forecast(case: Case) -> str:
    guess = estimate(case.teller.questions(case.asked), case.backend, cache=cache.beside(case.options.out))
    facts = [len(case.teller.told(each)) for each in case.asked]
    return (
        f"{case.options.model}: {guess.questions} questions with {np.mean(facts):,.0f} facts each, {guess.cached} "
        f"answered already: {guess.calls} requests, at most {guess.prompt_tokens} prompt and {guess.completion_tokens} "
        "completion tokens"
    )


def drawn(questions: Sequence[Asked], limit: int | None, seed: int) -> list[Asked]:
    """At most `limit` of the questions, drawn at random, in order of row: the test is sorted by label."""
    order = np.random.default_rng(seed).permutation(len(questions))[:limit]
    return [questions[i] for i in sorted(order.tolist())]


def _grokked(options: LlmBaselineOptions) -> tuple[str, int, float]:
    """A grokked model on the same test: name of its run, questions, accuracy at the last checkpoint.

    Raises:
        UsageError: it was evaluated on other data, or not on the hard test.
    """
    place = runs.folder(str(options.grokked), "grokked", "grokked-reasoning.evaluate")
    found = journal.start(place / JOURNAL)
    ours = provenance.fingerprint(refs.resolve(options.data, **DATA))
    if found and found["inputs"].get("data") not in (None, ours):
        raise UsageError(
            f"--grokked {options.grokked} was evaluated on {found['options']['data']}, whose content is not that of "
            f"--data {options.data}: name a run of evaluate on this data"
        )
    hard = runs.table(place, "accuracy", tables.Accuracy).filter(type=HARD).sort("step")
    if hard.is_empty():
        raise UsageError(f"--grokked {options.grokked}: its table accuracy has no rows of type {HARD}")
    step, n, accuracy = hard.select("step", "n", "accuracy").row(-1)
    return f"{place.resolve().name}, step {step:,}", n, accuracy


def _told(table: pl.DataFrame) -> list[str]:
    """What a person should know of answers that are none, or not in the form asked for."""
    lines: list[str] = []
    status = dict(table["status"].value_counts().iter_rows())
    if errors := status.get("error", 0):
        lines.append(
            f"{errors} of {len(table)} questions have no answer because asking failed (outcome error; left out of all "
            "shares): --fresh asks them again, and takes the answers there are from the cache"
        )
    if status.get("invalid", 0) > _FEW * len(table):
        lines.append(
            f"{status['invalid']} of {len(table)} replies did not keep to the JSON form asked for; their words were "
            "read as they came"
        )
    return lines
