"""The sections on what was measured of trained models: accuracy, the circuit, capacity, the hard test."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from runkit.page.charts import Dot, dots
from runkit.page.document import picture
from runkit.page.markup import Child, Markup, element, note, prose, table
from runkit.page.numbers import NONE, real, share, signed, spanned_share

from grokked_reasoning.circuit_figures import used
from grokked_reasoning.pages.evidence import Evaluated, Setting, Traced
from grokked_reasoning.pages.evidence import picture as figure
from grokked_reasoning.pages.spread import told

_HOME = {
    ("bridge", "r1"), ("second_relation", "r2"), ("answer", "r2"),
    ("value1", "e1"), ("value2", "e2"), ("labels", "a"), ("answer", "e2"),
}  # fmt: skip
"""Where what is looked for belongs (paper, figures 4 and 5)."""
_CONTEXT = {"full": "all facts of the attribute", "retrieval": "facts within two hops", None: NONE}


def evaluated(found: Sequence[Evaluated]) -> list[Markup]:
    """Accuracy and loss of the last checkpoint, by type."""
    rows: list[list[Child]] = []
    for each in found:
        last = each.accuracy.filter(pl.col("step") == each.accuracy["step"].max())
        for row in last.iter_rows(named=True):
            shares = [share(row["accuracy"]), share(row["exact"]), real(row["nll"])]
            rows.append([f"{each.folder.name}, step {row['step']:,}", row["type"], f"{row['n']:,}", *shares])
    head = ["run of evaluate, last checkpoint", "type", "facts", "answer right", "and ended", "−log p of the answer"]
    words = "And ended: the answer is followed by its end mark, as the original counts; –: the model was not taught it."
    return [table(head, rows, id="evaluated"), note(words)]


def circuit(run: Traced) -> list[Markup]:
    """The run's figures, and what changed between fitting and the end."""
    name, split = run.folder.name, run.options.get("split", "")
    lead = (
        f"{run.lens['n'].max():,} facts of type {split} at {run.lens['step'].n_unique()} checkpoints. Logit lens: "
        "what is read from a state through the unembedding, as MRR, the mean reciprocal rank of what is looked for. "
        "Causal strength: the share of facts with a wrong answer after a state is replaced by that of a corrupted one "
        "(heat maps: of those answered right before)."
    )
    return [
        element("h3", name),
        prose(lead),
        picture(figure(run.folder, "circuit"), f"{name}: causal strength by layer and token, and how it changed."),
        picture(figure(run.folder, "lens"), f"{name}: MRR and causal strength over steps."),
        *_changes(run),
    ]


def seeds(traced: Sequence[Traced], settings: Sequence[Setting]) -> Iterator[Markup]:
    """What rose in the runs of one setting together: a table for each setting of which several were traced."""
    for place, setting in enumerate(settings, start=1):
        found = [rises(each) for each in traced if any(each.of is run for run in setting.runs)]
        if len(found) > 1:
            read, lost = (pl.concat([both[i] for both in found], how="diagonal") for i in (0, 1))
            rows = [
                *(_together(f"MRR of {key[1]} at {key[0]}", of_it)
                  for key, of_it in read.group_by("token", "target", maintain_order=True)),
                *(_together(f"causal strength of the state at {key[0]}", of_it)
                  for key, of_it in lost.filter(target="answer").group_by("site", maintain_order=True)),
            ]  # fmt: skip
            yield element("h3", f"{setting.name}: {len(found)} runs")
            yield table(["median (least to most)", "fitted", "last", "change", "layers"], rows, id=f"circuits-{place}")


def _together(name: str, rows: pl.DataFrame) -> list[Child]:
    layers = ", ".join(str(layer) for layer in sorted(rows["layer"].unique()))
    return [name, *(told(rows[column].to_list()) for column in ("before", "after", "change")), layers]


def moments(run: Traced) -> list[tuple[str, int]]:
    """The checkpoints to compare: next to fitting, next to grokking (where these are known), and the last one."""
    every = sorted(run.lens["step"].unique())
    asked = {"fitted": "fitted", "ID grokked": "grokked_id"}
    steps = {words: run.of.event(event) for words, event in asked.items()} if run.of else {}
    near = [(words, min(every, key=lambda at: abs(at - step))) for words, step in steps.items() if step is not None]
    first = near if near and near[0][0] == "fitted" else [("first", every[0]), *near]
    return [*first, ("last", every[-1])]


def rises(run: Traced) -> tuple[pl.DataFrame, pl.DataFrame]:
    """MRR (token, target) and causal strength (site, target), at one layer each, as the run's figure chooses it.

    MRR: the layer where it is highest in the end (answer), or grows most below the last layer (other targets).
    Strength: the layer where it grows most. Columns `layer`, `before`, `after`, `change`, `n`, and one per moment.
    """
    at, key = moments(run), ["token", "target"]
    home = pl.struct("target", "token").is_in([{"target": target, "token": token} for target, token in sorted(_HOME)])
    read = _change(used(run.lens.filter(home)), key, "mrr", at)
    read = read.with_columns(pl.when(pl.col("target") == "answer").then("after").otherwise("change").alias("most"))
    inside = run.effects.filter(pl.col("layer") < pl.col("target_layer"))  # later, a state is read by no other token
    lost = _change(inside, ["site", "target", "target_layer"], "strength", at)
    return _best(read, key, "most"), _best(lost, ["site", "target", "target_layer"], "change")


def _change(frame: pl.DataFrame, key: list[str], column: str, at: list[tuple[str, int]]) -> pl.DataFrame:
    """Each layer's value at each moment, and the change from the first to the last."""
    both = [*key, "layer"]
    found = frame.select(*both, "n").unique(both, maintain_order=True)
    for name, step in at:
        here = frame.filter(step=step).select(*both, pl.col(column).alias(name))
        found = found.join(here, on=both, how="inner", maintain_order="left")
    found = found.with_columns(pl.col(at[0][0]).alias("before"), pl.col(at[-1][0]).alias("after"))
    return found.with_columns((pl.col("after") - pl.col("before")).alias("change"))


def _best(frame: pl.DataFrame, key: list[str], by: str) -> pl.DataFrame:
    most = frame.sort([by, "layer"], descending=[True, False], maintain_order=True)
    return most.unique(key, keep="first", maintain_order=True).sort(key)


def _changes(run: Traced) -> Iterator[Markup]:
    read, lost = rises(run)
    key, at = run.folder.name, moments(run)
    ends = [f"{name}, step {step:,}" for name, step in at]
    seen = [[f"{row['target']} at {row['token']}", *_cells(row, at)] for row in read.iter_rows(named=True)]
    caused = [[_patch(row), *_cells(row, at)] for row in lost.iter_rows(named=True)]
    yield table(["logit lens, MRR", "layer", *ends, "change", "facts"], seen, id=f"lens-{key}")
    yield table(["causal strength", "layer", *ends, "change", "facts"], caused, id=f"effects-{key}")
    yield note("MRR of the answer at the layer where it is highest in the end, all else where it grows most.")


def _patch(row: dict[str, Any]) -> str:
    inner = "" if row["target"] == "answer" else f" as read after layer {row['target_layer']}"
    return f"state at {row['site']}, on {row['target']}{inner}"


def _cells(row: dict[str, Any], at: list[tuple[str, int]]) -> list[Child]:
    return [row["layer"], *(real(row[name]) for name, _ in at), signed(row["change"]), f"{row['n']:,}"]


def capacity(found: tuple[Path, pl.DataFrame], lead: str) -> list[Markup]:
    """The run's figure, and bits by model."""
    place, frame = found
    totals = frame.filter(attribute="all")
    rows = [
        [f"{row['people']:,} people, {row['layers']} layers, width {row['width']}", f"{row['parameters']:,}",
         row["questions"], row["scheme"], f"{row['capacity']:,.0f}", f"{row['entropy']:,.0f}",
         real(row["bits_per_parameter"]), {True: "yes", False: "no", None: NONE}[row["converged"]]]
        for row in totals.iter_rows(named=True)
    ]  # fmt: skip
    head = ["model and world", "parameters", "questions", "scheme", "bits known", "bits there are", "per parameter",
            "converged"]  # fmt: skip
    told = "Bits of knowledge against parameters; the line of 2 bits per parameter is that of 2404.05405."
    return [prose(lead), picture(figure(place, "capacity"), told), table(head, rows, id="capacity")]


def hard(found: Sequence[pl.DataFrame]) -> list[Markup]:
    """Language models on the hard test beside a grokked model, chance, and what is published."""
    every = pl.concat(found).unique(maintain_order=True)
    order = {"this run": 0, "grokked model": 1, "chance": 2, "published": 3}
    shown = [_answered(row) for row in sorted(every.iter_rows(named=True), key=lambda row: order[row["kind"]])]
    head = [
        "system",
        "share right",
        "right",
        "95 %",
        "facts told",
        "answer",
        "cannot decide",
        "invalid",
        "questions",
        "",
    ]
    lead = (
        "Which of two entities is above the other, where the training facts decide it only by several steps. Language "
        "models read the facts as sentences about people’s ages; the grokked model has them in its weights."
    )
    words = (
        "Published: Wang et al. (2024), 150 questions of a world of 1,000 entities; the wording of their instructions "
        "is not public. Runs on other worlds or fewer questions do not repeat that test. Cannot decide is not right."
    )
    return [prose(lead), dots(shown, head, (0, 1), id="hard"), note(words)]


def _answered(row: dict[str, Any]) -> Dot:
    right, low, high = (row[name] for name in ("correct", "correct_low", "correct_high"))
    asked = NONE if row["n"] is None else f"{row['n']:,}"
    how = [_CONTEXT[row["context"]], row["answer"]]
    rest = [share(row["cannot_decide"]), share(row["invalid"]), asked, row["kind"]]
    return Dot(row["system"], right, low, high, [share(right), spanned_share(low, high), *how, *rest])
