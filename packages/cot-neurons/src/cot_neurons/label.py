"""Stage `label`: which concept each neuron promotes, by whom it is said, and whether held-out chains bear it out.

Token lists are scored against a registry of concepts; a judge (the rules, or a language model that sees the tokens)
gives the labels; each label is then tested where `discover` has not looked. Rai & Yao (2024), section 4, made whole.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import runkit
from runkit.options import flag
from runkit.tables import NEURON_KEY

from cot_neurons import portraits, sources, tables
from cot_neurons.labels import concepts, controls, rules
from cot_neurons.labels.concepts import Concept
from cot_neurons.labels.matching import Lists
from cot_neurons.labels.scoring import Scoring, lists
from cot_neurons.labels.vocabulary import Vocabulary, token_ids
from cot_neurons.options import LabelOptions
from cot_neurons.subject import Subject


def label(options: LabelOptions) -> Path:
    """Run the stage: tables `coverage`, `scores`, `verdicts`, `labels`, `controls`, `agreement`. Returns its folder."""
    with runkit.stage("cot-neurons.label", options) as run:
        if run.finished:
            return run.folder
        case = Case.open(options)
        for name in sorted(set(concepts.names(case.concepts)) - set(case.tokens)):
            run.log(
                f"concept {name!r}: none of its words is a single token of {case.subject.name}; nothing can match it"
            )
        run.table("coverage", case.coverage, tables.Coverage)
        run.table("scores", case.scores, tables.Scores)
        verdicts = case.judged_by_rules()
        run.table("verdicts", verdicts, tables.Verdicts)
        run.table("controls", case.controls_of_rules(), tables.Controls)
        labels = given(verdicts, case.scores)
        run.table("labels", labels, tables.Labels)
        conclude(run, case, labels)
        return run.folder


@dataclass(frozen=True)
class Case:
    """All that is known before anyone judges."""

    options: LabelOptions
    subject: Subject
    neurons: pl.DataFrame
    concepts: list[Concept]
    coverage: pl.DataFrame
    tokens: dict[str, list[int]]
    of: Lists
    scoring: Scoring
    scores: pl.DataFrame

    @classmethod
    def open(cls, options: LabelOptions) -> "Case":
        """Read what the options name and score every neuron."""
        known = concepts.read(options.concepts)
        subject = Subject.load(options)
        neurons = sources.neurons(options.neurons, subject).sort(NEURON_KEY)
        of = lists(neurons, subject.model, options.neurons)
        vocabulary = Vocabulary(subject.model)
        coverage = vocabulary.coverage(known)
        tokens = token_ids(coverage)
        decoys = controls.decoys(of, tokens, vocabulary.size, options.seed)
        scoring = Scoring(of, tokens, vocabulary, options.seed)
        keys = neurons.select(NEURON_KEY)
        scores = pl.concat([scoring.table(keys, of, tokens), scoring.table(keys, of, decoys, decoy=True)])
        coverage = pl.concat([coverage, vocabulary.coverage_of_decoys(decoys)])
        return cls(options, subject, neurons, known, coverage, tokens, of, scoring, scores)

    @property
    def candidates(self) -> pl.DataFrame:
        """Keys of the neurons to be judged: those whose list matches some concept well enough."""
        enough = self.scores.filter(~pl.col("decoy") & (pl.col("score") >= self.options.min_score))
        return enough.select(NEURON_KEY).unique(maintain_order=True).sort(NEURON_KEY)

    def judged_by_rules(self) -> pl.DataFrame:
        """Verdicts of the rules."""
        return rules.verdicts(self.scores, self.candidates, self.options.min_score, self.options.alpha)

    def controls_of_rules(self) -> pl.DataFrame:
        """How often the rules label neurons with a concept, with a decoy, and shuffled lists with a concept."""
        keys = self.neurons.select(NEURON_KEY)
        mixed = self.scoring.table(keys, controls.shuffled(self.of, self.options.seed), self.tokens)
        asked = {
            "concepts": self.scores.filter(~pl.col("decoy")),
            "decoys": self.scores.filter("decoy"),
            "shuffled": mixed,
        }
        rows = []
        for control, scores in asked.items():
            labelled = rules.given(scores, self.options.min_score, self.options.alpha).select(NEURON_KEY).n_unique()
            rows.append((rules.NAME, control, len(keys), labelled, labelled / len(keys)))
        return pl.DataFrame(rows, tables.columns(tables.Controls), orient="row")


def given(verdicts: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """The table `labels` before it is tested: one row per neuron, concept and judge that gives it, best score first."""
    rows = verdicts.filter(status="labelled").explode("concepts").rename({"concepts": "concept"})
    scored = scores.filter(~pl.col("decoy")).select(*NEURON_KEY, "concept", "score")
    labels = rows.join(scored, on=[*NEURON_KEY, "concept"], how="left").with_columns(pl.col("score").fill_null(0.0))
    order = ["judge", "concept", pl.col("score"), *NEURON_KEY]
    labels = labels.sort(order, descending=[False, False, True, False, False, False, False])
    schema = tables.columns(tables.Labels)
    empty = {name: pl.lit(0 if name == "positives" else None, kind).alias(name) for name, kind in schema.items()}
    return labels.select(name if name in labels.columns else empty[name] for name in schema)


def conclude(run: runkit.StageRun, case: Case, labels: pl.DataFrame) -> None:
    """Counts as metrics, and each concept's best neurons for the person at the terminal."""
    counts = dict(labels.group_by("concept").agg(pl.struct(NEURON_KEY).n_unique()).iter_rows())
    run.metrics(
        {"neurons": len(case.neurons), "candidates": len(case.candidates)}
        | {"labelled": labels.select(NEURON_KEY).n_unique()}
        | {f"labelled_{concept.name}": counts.get(concept.name, 0) for concept in case.concepts}
    )
    shown = labels.group_by("concept", maintain_order=True).head(3)
    told = shown.join(case.neurons.select(*NEURON_KEY, "promotes"), on=NEURON_KEY, how="left", maintain_order="left")
    lines: dict[str, list[str]] = {concept.name: [] for concept in case.concepts}
    for row in told.iter_rows(named=True):
        lines[row["concept"]].append(
            f"{portraits.name(row):<9} {row['score']:.2f}  {portraits.said(row['promotes'], 4)}"
        )
    run.summary({name: "\n".join(each) or "no neuron" for name, each in lines.items()})
