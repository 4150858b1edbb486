"""Stage `label`: which concept each neuron promotes, by whom it is said, and whether held-out chains bear it out.

Token lists are scored against a registry of concepts; a judge (the rules, or a language model that sees the tokens)
gives the labels; each label is then tested where `discover` has not looked. Rai & Yao (2024), section 4, made whole.
"""

from pathlib import Path

import polars as pl
import runkit
from runkit.tables import NEURON_KEY

from cot_neurons import portraits, tables
from cot_neurons.labels import bench, figures, validation
from cot_neurons.labels.agreement import agreement
from cot_neurons.labels.case import Case
from cot_neurons.options import LabelOptions

_SHOWN = 3


def label(options: LabelOptions) -> Path | None:
    """Run the stage: tables `coverage`, `scores`, `verdicts`, `controls`, `agreement` and `labels`, figure `labels`.

    Returns its folder; None for a dry run, which is no run.
    """
    if options.dry_run:
        print("\n".join(bench.forecast(Case.open(options))))
        return None
    with runkit.stage("cot-neurons.label", options) as run:
        if not run.finished:
            _label(run, options)
        return run.folder


def _label(run: runkit.StageRun, options: LabelOptions) -> None:
    case = Case.open(options)
    for name in case.uncovered:
        run.log(
            f"concept {name!r}: no word of it is a single token of {case.subject.name}, so no token list matches it"
        )
    run.table("coverage", case.coverage, tables.Coverage)
    run.table("scores", case.scores, tables.Scores)
    judged = bench.judge_all(run, case)
    verdicts = pl.concat(judged.verdicts.values())
    for line in bench.told(verdicts):
        run.log(line)
    run.table("verdicts", verdicts, tables.Verdicts)
    run.table("controls", pl.concat(judged.controls.values()), tables.Controls)
    if len(judged.verdicts) > 1:
        shared = agreement(judged.verdicts, [concept.name for concept in case.concepts])
        run.table("agreement", shared, tables.Agreement)
        run.metrics({f"kappa_{row['concept']}": row["kappa"] for row in shared.drop_nulls("kappa").to_dicts()})
    labels = _tested(run, case, given(verdicts, case.scores))
    run.table("labels", labels, tables.Labels)
    run.figure("labels", figures.labels(labels, [each.name for each in case.concepts], case.subject.model.dims.layers))
    _conclude(run, case, verdicts, labels)


def given(verdicts: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """The table `labels` before it is tested: one row per neuron, concept and judge that gives it, best score first."""
    rows = verdicts.filter(status="labelled").explode("concepts").rename({"concepts": "concept"})
    scored = scores.filter(~pl.col("decoy")).select(*NEURON_KEY, "concept", "score")
    labels = rows.join(scored, on=[*NEURON_KEY, "concept"], how="left").with_columns(pl.col("score").fill_null(0.0))
    schema = tables.columns(tables.Labels)
    missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in labels.columns]
    order = ["judge", "concept", "score", *NEURON_KEY]
    labels = labels.with_columns(missing).sort(order, descending=[name == "score" for name in order])
    return validation.untested(labels.select(list(schema)))


def _tested(run: runkit.StageRun, case: Case, labels: pl.DataFrame) -> pl.DataFrame:
    """The labels, held against chains that were held out."""
    if labels.is_empty():
        return labels
    options, subject = case.options, case.subject
    items = validation.held_out(options, subject, run)
    run.metrics({"held_out_items": len(items)})
    if items.is_empty():
        return labels
    neurons = labels.select(validation.POLE).unique().sort(validation.POLE)
    firing = validation.measured(run, subject, items, neurons, options.batch_size)
    found = validation.separations(labels, neurons, firing, case.tokens, options.seed)
    return validation.tested(labels, found)


def _conclude(run: runkit.StageRun, case: Case, verdicts: pl.DataFrame, labels: pl.DataFrame) -> None:
    """Counts as metrics, and each concept's best neurons for the person at the terminal."""
    counts = dict(labels.group_by("concept").agg(pl.struct(NEURON_KEY).n_unique()).iter_rows())
    status = dict(verdicts["status"].value_counts().iter_rows())
    tested = labels.drop_nulls("auroc")
    means = tested.group_by("concept", maintain_order=True).agg(pl.mean("auroc"))
    run.metrics(
        {"neurons": len(case.keys), "candidates": len(case.candidates)}
        | {"labelled": labels.select(NEURON_KEY).n_unique()}
        | {"invalid": status.get("invalid", 0), "errors": status.get("error", 0)}
        | {f"labelled_{concept.name}": counts.get(concept.name, 0) for concept in case.concepts}
        | {"labels_tested": len(tested), "labels_validated": int(tested["validated"].sum())}
        | {f"auroc_{concept}": mean for concept, mean in means.iter_rows()}
        | ({"auroc": float(tested["auroc"].to_numpy().mean())} if len(tested) else {})
    )
    run.summary(_told(case, labels))


def _told(case: Case, labels: pl.DataFrame) -> dict[str, str]:
    """For each concept its best neurons, with their score, AUROC and tokens."""
    lines: dict[str, list[str]] = {concept.name: [] for concept in case.concepts}
    best = labels.unique([*NEURON_KEY, "concept"], keep="first", maintain_order=True)
    best = best.group_by("concept", maintain_order=True).head(_SHOWN)
    for row, ids in zip(best.iter_rows(named=True), case.promoted(best), strict=True):
        auroc = "   - " if row["auroc"] is None else f"{row['auroc']:5.2f}"
        tokens = portraits.said(case.vocabulary.spell(ids), 4)
        lines[row["concept"]].append(f"{portraits.name(row):<9} {row['score']:5.2f} {auroc}  {tokens}")
    legend = {"concept": "best neurons: score, AUROC on held-out chains, what they promote"}
    return legend | {name: "\n".join(each) or "no neuron" for name, each in lines.items()}
