"""What the page is made from: the tables of finished runs, read once and held against each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl
from runkit import runs
from runkit.errors import UsageError
from runkit.options import flag
from runkit.page.sources import Made, Sources

from cot_neurons import tables
from cot_neurons.ablation import tables as ablations
from cot_neurons.options import ReportOptions

POLE = ["layer", "neuron", "polarity"]


class Answers(NamedTuple):
    """The items of one run of `infer`, and what its prompt is called on the page."""

    variant: str
    items: pl.DataFrame


class Ablation(NamedTuple):
    """One run of `ablate`."""

    conditions: pl.DataFrame
    effects: pl.DataFrame
    tests: pl.DataFrame

    @property
    def mode(self) -> str:
        """What was done to the neurons."""
        return self.conditions["mode"][0]

    @property
    def controls(self) -> list[str]:
        """The kinds of control draws there are."""
        return self.tests["control"].unique(maintain_order=True).to_list()

    def touched(self, concept: str) -> set[str]:
        """The neurons, as "L3N17", that were intervened on for a concept."""
        targets = self.conditions.filter(concept=concept, kind="target")["neurons"]
        return {name for neurons in targets for name in neurons}

    @property
    def control(self) -> str:
        """The kind whose draws are shown one by one: random ones, or the first there is."""
        return "random" if "random" in self.controls else next(iter(self.controls), "random")

    @property
    def beaten(self) -> pl.DataFrame:
        """`beaten`: the share of draws that hurt less than the target, of that kind of control that hurts most.

        Neurons of other concepts count only where there are no other controls: they too may be needed.
        """
        fair = pl.col("control") != "other"
        tests = self.tests.filter(fair) if len(self.tests.filter(fair)) else self.tests
        key = ["concept", "amount", "metric"]
        return tests.group_by(key, maintain_order=True).agg(pl.col("change").first(), beaten=pl.col("worse_than").min())


class Labelling(NamedTuple):
    """One run of `label`; `agreement` only where two judges were asked."""

    labels: pl.DataFrame
    verdicts: pl.DataFrame
    controls: pl.DataFrame
    agreement: pl.DataFrame | None


@dataclass(frozen=True)
class Evidence:
    """All tables; None or empty where that stage was not named."""

    model: str
    answers: list[Answers]
    neurons: pl.DataFrame
    steps: pl.DataFrame
    activations: Path
    labelling: Labelling | None
    activity: tuple[pl.DataFrame, pl.DataFrame] | None
    ablations: list[Ablation]
    attribution: tuple[pl.DataFrame, pl.DataFrame] | None
    overlaps: pl.DataFrame | None
    made: list[Made]

    @classmethod
    def read(cls, options: ReportOptions) -> "Evidence":
        """The tables that the options name.

        Raises:
            UsageError: a run is not there or of another stage, or two runs are of different models.
            DataError: a table is damaged.
        """
        found = Sources("cot-neurons")
        answered = [found(text, "items", "infer") for text in options.items]
        discovered = found(options.neurons, "neurons", "discover")
        labelled = found.perhaps(options.labels, "labels", "label")
        active = found.perhaps(options.activity, "activity", "activity")
        attributed = found.perhaps(options.attribution, "attribution", "attribute")
        ablated = [found(text, "ablation", "ablate") for text in options.ablation]
        stable = found.perhaps(options.stability, "stability", "stability")
        neurons = runs.table(discovered, "neurons", tables.Neurons)
        made = cls(
            model=neurons["model"][0],
            answers=_answers(answered),
            neurons=neurons,
            steps=runs.table(discovered, "steps", tables.Steps),
            activations=runs.trusted(discovered, "activations"),
            labelling=_labelling(labelled) if labelled else None,
            activity=_two(active, "activity", tables.Activity, "correlations", tables.Correlations),
            ablations=[_ablation(each) for each in ablated],
            attribution=_two(attributed, "attributions", tables.Attributions, "contrasts", tables.Contrasts),
            overlaps=runs.table(stable, "overlaps", tables.Overlaps) if stable else None,
            made=found.made,
        )
        made._check(options)
        return made

    @property
    def topics(self) -> pl.DataFrame:
        """`topic` and `score` of each neuron and sign: its concepts, or without labels the kind of token it is for."""
        if self.labelling is None:
            return self.neurons.select(*POLE, topic="focus", score="contrast")
        labels = self.labelling.labels.sort("score", *POLE, descending=[True, False, False, False])
        return labels.unique([*POLE, "concept"], keep="first", maintain_order=True).select(
            *POLE, topic="concept", score="score"
        )

    @property
    def held(self) -> pl.DataFrame:
        """`topics`, of labels that held up on held-out chains where any did."""
        if self.labelling is None:
            return self.topics
        held = self.labelling.labels.filter(pl.col("validated").fill_null(False))
        keys = held.select(*POLE, topic="concept")
        return self.topics.join(keys, on=[*POLE, "topic"], how="semi") if len(keys) else self.topics

    @property
    def topic(self) -> str:
        """What a topic is called."""
        return "kind of token" if self.labelling is None else "concept"

    @property
    def watched(self) -> pl.DataFrame:
        """The items whose chains `discover` watched, known by the tokens; empty where no named run holds them."""
        written = self.steps.group_by(pl.col("row").cast(pl.Int64)).agg(
            pl.col("token_id").sort_by("step").cast(pl.Int64)
        )
        for answers in self.answers:
            both = answers.items.join(written, on="row", how="inner")
            same = [ids[: len(told)] == told for ids, told in both.select("new_ids", "token_id").iter_rows()]
            if len(both) == len(written) and sum(same) > len(same) / 2:  # a rare token may differ in half precision
                return both.select(answers.items.columns)
        return self.answers[0].items.clear()

    def _check(self, options: ReportOptions) -> None:
        """Raises UsageError where a table is of another model than the neurons."""
        for option, frame in self._with_models():
            others = set(frame["model"].unique()) - {self.model}
            if others:
                raise UsageError(
                    f"{flag(option)} {getattr(options, option)} is of {min(others)!r}, but --neurons "
                    f"{options.neurons} of {self.model!r}: name runs of one model"
                )

    def _with_models(self) -> Iterator[tuple[str, pl.DataFrame]]:
        yield from (("items", each.items) for each in self.answers)
        if self.labelling is not None:
            yield "labels", self.labelling.labels
        if self.attribution is not None:
            yield from (("attribution", frame) for frame in self.attribution)


def _answers(folders: Sequence[Path]) -> list[Answers]:
    found = [(place, runs.table(place, "items", tables.Items)) for place in folders]
    for place, items in found:
        if items.is_empty():
            raise UsageError(f"--items {place} holds no items: look at that run of infer first")
    names = [items["variant"][0] for _, items in found]
    return [
        Answers(name if names.count(name) == 1 else f"{name} ({place.resolve().name})", items)
        for name, (place, items) in zip(names, found, strict=True)
    ]


def _labelling(place: Path) -> Labelling:
    compared = (place / "tables" / "agreement.parquet").exists()
    return Labelling(
        runs.table(place, "labels", tables.Labels),
        runs.table(place, "verdicts", tables.Verdicts),
        runs.table(place, "controls", tables.Controls),
        runs.table(place, "agreement", tables.Agreement) if compared else None,
    )


def _ablation(place: Path) -> Ablation:
    return Ablation(
        runs.table(place, "conditions", ablations.Conditions),
        runs.table(place, "effects", ablations.Effects),
        runs.table(place, "tests", ablations.Tests),
    )


def _two(
    place: Path | None, one: str, schema: type, other: str, other_schema: type
) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    if place is None:
        return None
    return runs.table(place, one, schema), runs.table(place, other, other_schema)
