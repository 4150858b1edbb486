"""The first sections: what was asked, and how often the answer was right."""

from collections.abc import Sequence

import polars as pl
from runkit.page.charts import Dot, dots
from runkit.page.frames import mean
from runkit.page.markup import Markup, element, note, prose
from runkit.page.numbers import count, share, spanned_share

from cot_neurons import statistics
from cot_neurons.pages.evidence import Answers, Evidence
from cot_neurons.prompts import VARIANTS, build

WHAT = {
    "none": "no demonstrations: the question, then “Let’s think step by step”",
    "cot": "demonstrations that reason in sentences with equations",
    "text_only": "the same demonstrations without their equations",
    "equation_only": "the same demonstrations, equations alone",
    "wrong_label": "the same demonstrations with wrong results",
    "ood_label": "the same demonstrations with names in the place of results",
    "add_only": "demonstrations that only add",
    "mult_only": "demonstrations that only multiply",
    "answer_only": "demonstrations that give the answer without reasoning",
    "zero_shot": "an instruction and no demonstrations",
}


def prompts(evidence: Evidence) -> list[Markup]:
    """What each prompt shows the model: a demonstration of its kind, and one problem with what the model wrote."""
    row = _telling(evidence.answers)
    shown = evidence.answers[0].items.filter(row=row)["question"][0]
    lead = (
        f"{evidence.model} was asked word problems under {count(len(evidence.answers), 'prompt')}. Below each: a "
        "demonstration of its kind, and what the model then wrote about the same problem:"
    )
    articles = element("div", (_prompt(answers, row) for answers in evidence.answers), class_="panels")
    return [prose(lead), element("p", shown, class_="asked"), articles]


def accuracy(evidence: Evidence) -> list[Markup]:
    """Share of right answers per prompt, with its interval."""
    rows = [_scored(answers) for answers in evidence.answers]
    head = [
        "prompt",
        "right answers, stated",
        "right",
        "95 %",
        "last number",
        "no answer",
        "equations that hold",
        "problems",
    ]
    explained = (
        "Stated: the number given as “The answer is …” equals the reference. Last number: the last one written "
        "does. Bars: 95 % bootstrap intervals over problems."
    )
    return [dots(rows, head, (0, 1), id="accuracy"), note(explained)]


def strict(items: pl.DataFrame) -> tuple[float, float | None, float | None]:
    """Share of items answered right (strictly), with its 95 % interval."""
    right = items["correct_strict"].cast(pl.Float64).to_numpy()
    return float(right.mean()), *statistics.interval(right)


def _scored(answers: Answers) -> Dot:
    items = answers.items
    value, low, high = strict(items)
    written, true = (int(items[name].sum()) for name in ("equations", "equations_true"))
    cells = [
        share(value), spanned_share(low, high), share(mean(items["correct_flexible"])), share(mean(items["no_answer"])),
        share(true / written if written else None), f"{len(items):,}",
    ]  # fmt: skip
    return Dot(answers.variant, value, low, high, cells)


def _prompt(answers: Answers, row: int) -> Markup:
    variant = answers.items["variant"][0]
    name = element("h3", answers.variant, " ", element("small", WHAT.get(variant, "a prompt of the user’s own")))
    demonstration = element("p", _demonstration(variant), class_="shown") if variant in VARIANTS else None
    found = answers.items.filter(row=row)
    if found.is_empty():
        return element("article", name, demonstration, note("not asked this problem"), class_="prompt")
    item = found.row(0, named=True)
    verdict = f"reference answer {item['gold']}: {'right' if item['correct_strict'] else 'wrong'}"
    return element(
        "article",
        name,
        demonstration,
        element("p", item["text"].strip(), class_="said"),
        note(verdict),
        class_="prompt",
    )


def _demonstration(variant: str) -> str:
    """The first demonstration of a variant, or the instruction of one that has none."""
    built = build(variant, 0 if VARIANTS[variant].pool is None else 1)
    return built.template.split("\n\n")[0].strip()


def _telling(answers: Sequence[Answers]) -> int:
    """A problem that some prompts got right and others wrong, as far as there is one; else the first."""
    right = pl.concat([each.items.select("row", "correct_strict") for each in answers])
    told = right.group_by("row", maintain_order=True).agg(pl.len(), right=pl.col("correct_strict").mean())
    order = told.sort("len", (pl.col("right") - 0.5).abs(), descending=[True, False], maintain_order=True)
    return order["row"][0]
