"""Stage `infer`: what a model answers to word problems, and how often it is right.

Greedy chain-of-thought decoding of word problems (`problems.FORMS`) in length-bucketed batches, scored by a strict and
a flexible reading of the answer side by side; the prompts are those compared by Rai & Yao (ACL 2024).
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import actkit
import polars as pl
import runkit
from pydantic import field_validator
from runkit import data
from runkit.progress import track

from cot_neurons import answers, figures, prompts, tables
from cot_neurons.options import InferOptions
from cot_neurons.problems import GSM8KRow, WordRow
from cot_neurons.profiles import Profile
from cot_neurons.subject import Subject

RATES = ("correct_strict", "correct_flexible", "no_answer")


def infer(options: InferOptions) -> Path:
    """Run the stage: table `items` (one row per question), figure `accuracy`, rates as metrics. Returns its folder."""
    with runkit.stage("cot-neurons.infer", options) as run:
        if run.finished:
            return run.folder
        subject = Subject.load(options)
        if options.chat:
            subject.check_chat()
        prompt = prompts.load(options.prompt, options.shots, options.seed, reference=options.profile == "reference")
        profile = options.settled()

        def ask(question: str) -> list[int]:
            return subject.tokenize(prompt.render(question), chat=options.chat)

        rows = data.load_rows(
            options.data,
            _row_that_fits(GSM8KRow if options.answers == "numbers" else WordRow, subject.fits(ask)),
            split=options.split,
            limit=options.limit,
            on_bad_row=options.on_bad_row,
            run=run,
        )
        ids = [ask(row.question) for row in rows]
        parts, room = run.parts("items"), actkit.Room(run.log)
        answered = partial(_answered, subject, profile, prompt.variant, rows, ids)
        batches = actkit.buckets([len(each) for each in ids], options.batch_size)
        for key, group in track(parts.missing(enumerate(batches)), "batches", len(batches)):
            parts.write(key, pl.concat(room(group, answered)))
        _conclude(run, parts.collect().sort("row"))
        return run.folder


def _row_that_fits(row: type[WordRow], check: Callable[[str], str]) -> type[WordRow]:
    """A row model that also refuses questions whose prompt does not fit the model: they are bad rows like any other."""

    class RowThatFits(row):
        _fits = field_validator("question")(check)

    return RowThatFits


def _answered(
    subject: Subject,
    profile: Profile,
    variant: str,
    rows: Sequence[WordRow],
    ids: Sequence[list[int]],
    numbers: Sequence[int],
) -> pl.DataFrame:
    """Generate and score one batch, the rows of these numbers; `ids`: the prompts of all rows."""
    prompts = [ids[number] for number in numbers]
    made = subject.model.generate(
        subject.model.encode(prompts), max_new_tokens=profile.answer_tokens, stop=profile.stops, eos=profile.ends
    )
    texts = made.texts or []
    records = [
        {
            "model": subject.name,
            "variant": variant,
            "row": number,
            "id": rows[number].id,
            "question": rows[number].question,
            "gold": answers.spell(rows[number].gold),
            "solution": rows[number].solution,
            "prompt_ids": prompt_ids,
            "new_ids": tokens,
            "text": text,
            "new_tokens": len(tokens),
            "finish": finish,
            **profile.score(text, rows[number].gold)._asdict(),
        }
        for number, prompt_ids, text, tokens, finish in zip(
            numbers, prompts, texts, made.tokens, made.finish, strict=True
        )
    ]
    return pl.DataFrame(records, schema=tables.columns(tables.Items))


def _conclude(run: runkit.StageRun, items: pl.DataFrame) -> None:
    run.table("items", items, tables.Items)
    n = len(items)
    counts = {name: int(items[name].sum()) for name in (*RATES, "equations", "equations_true", "new_tokens")}
    rates = {name: counts[name] / n for name in RATES}
    errors = {name: answers.standard_error(counts[name], n) for name in RATES}
    run.figure("accuracy", figures.accuracy(rates, errors, n))
    run.metrics(
        {"items": n, "new_tokens": counts["new_tokens"], "accuracy": rates["correct_strict"]}
        | {f"{name}_rate": rate for name, rate in rates.items()}
        | {f"{name}_stderr": error for name, error in errors.items()}
        | {f"finish_{name}": count for name, count in items["finish"].value_counts().iter_rows()}
        | ({"equations_true_rate": counts["equations_true"] / counts["equations"]} if counts["equations"] else {})
    )
