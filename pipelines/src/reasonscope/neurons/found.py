"""The finished runs that an atlas is made from, held against each other: one model, and neurons that it has."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import actkit
import polars as pl
import torch
from actkit.families import find
from cot_neurons import tables as cot
from cot_neurons.ablation import tables as ablations
from expgen import tables as described
from expgen.store import Exemplars
from grokked_reasoning import modeling as modeling  # so that a looped model's configuration is known
from runkit import journal, manifest, refs, runs
from runkit.claim import JOURNAL
from runkit.errors import UsageError
from runkit.options import flag
from runkit.page.sources import Made
from runkit.tables import Schema, refuse_strangers
from transformers import AutoConfig, AutoModelForCausalLM

NONE, LATEST = "none", "latest"
_NEURONS = "mlp_post"


@dataclass(frozen=True)
class Found:
    """The folder of each run; None where it was left out."""

    neurons: Path | None = None
    labels: Path | None = None
    ablations: tuple[Path, ...] = ()
    attribution: Path | None = None
    exemplars: Path | None = None
    descriptions: Path | None = None
    selectivity: Path | None = None
    emergence: Path | None = None

    @property
    def made(self) -> list[Made]:
        """What the page says of them."""
        return [_made(place) for _, place in self.places()]

    @property
    def missing(self) -> list[str]:
        """The options that name none."""
        there = {option for option, _ in self.places()}
        return [each.name for each in fields(self) if each.name not in there]

    def places(self) -> Iterator[tuple[str, Path]]:
        """Option and folder of every run there is."""
        for each in fields(self):
            value: Any = getattr(self, each.name)
            yield from ((each.name, place) for place in (value if isinstance(value, tuple) else (value,)) if place)


STAGES = {
    "neurons": "cot-neurons.discover",
    "labels": "cot-neurons.label",
    "ablations": "cot-neurons.ablate",
    "attribution": "cot-neurons.attribute",
    "exemplars": "expgen.exemplars",
    "descriptions": "expgen.score",
    "selectivity": "memreason.neurons",
    "emergence": "grokked-reasoning.emerge",
}
"""Of which stage each option names a run."""


@dataclass(frozen=True)
class Model:
    """The model that is meant: its name in tables, and how many neurons it has."""

    name: str
    layers: int
    neurons: int

    @classmethod
    def of(cls, text: str, revision: str | None) -> "Model":
        """From its configuration, where its architecture is known. Raises UsageError where there is none."""
        place = refs.locate(text)
        try:
            config = AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"--model {text}: {error}") from error
        if find(config) is None:  # an unknown architecture is worked out by running it
            dims = actkit.load(place, revision=revision).dims
        else:
            with torch.device("meta"):
                dims = actkit.load(AutoModelForCausalLM.from_config(config, trust_remote_code=False)).dims
        return cls(place.resolve().name if isinstance(place, Path) else place, dims.layers, dims.d_mlp)


class Reader:
    """Reads tables of the runs, and checks whose neurons they are of."""

    def __init__(self, found: Found, model: Model) -> None:
        self.found, self.model = found, model

    def table(self, option: str, name: str, schema: Schema) -> pl.DataFrame | None:
        """A table of the run that an option names, the model's own neurons alone; None where the option names none.

        Raises:
            UsageError: it is of another model, or of neurons that this one does not have.
            DataError: it is damaged.
        """
        place: Path | None = getattr(self.found, option)
        if place is None:
            return None
        frame = runs.table(place, name, schema)
        if "model" in frame.columns:
            self._check(option, place, frame)
        return frame

    def best(self) -> pl.DataFrame | None:
        """Table `best` of expgen score, MLP neurons by the first scorer alone."""
        frame = self.table("descriptions", "best", described.Best)
        if frame is None or frame.is_empty():
            return frame
        return frame.filter(pl.col("source") == _NEURONS, pl.col("scorer") == frame["scorer"][0])

    def exemplars(self) -> Exemplars | None:
        """The run of exemplars. Raises UsageError where it is of another model."""
        if self.found.exemplars is None:
            return None
        opened = Exemplars.open(str(self.found.exemplars))
        self._check("exemplars", self.found.exemplars, opened.features.filter(source=_NEURONS))
        return opened

    def ablations(self) -> list["Ablation"]:
        """Every run of ablate."""
        return [self._ablation(place) for place in self.found.ablations]

    def _ablation(self, place: Path) -> "Ablation":
        read = Ablation(
            runs.table(place, "conditions", ablations.Conditions),
            runs.table(place, "effects", ablations.Effects),
            runs.table(place, "tests", ablations.Tests),
        )
        self._check("ablations", place, read.targets.with_columns(model=pl.lit(self.model.name)))
        labels = self.table("labels", "labels", cot.Labels)
        if labels is not None:
            strange = read.targets.join(labels, on=["layer", "neuron", "concept"], how="anti")
            if len(strange):
                layer, neuron, concept = strange.select("layer", "neuron", "concept").row(0)
                raise UsageError(
                    f"--ablations {place} is not of --labels {self.found.labels}, which does not give "
                    f"L{layer}N{neuron} the label {concept!r}: name runs of one model, and the labels it went by"
                )
        return read

    def _check(self, option: str, place: Path, frame: pl.DataFrame) -> None:
        name, model = f"{flag(option)} {place}", self.model
        if others := set(frame["model"].unique()) - {model.name}:
            raise UsageError(
                f"{name} is of {min(others)!r}, but --model of {model.name!r}: name runs of one model, or the model of "
                "these with --model"
            )
        refuse_strangers(frame, name, model.name, model.layers, model.neurons)


@dataclass(frozen=True)
class Ablation:
    """One run of ablate."""

    conditions: pl.DataFrame
    effects: pl.DataFrame
    tests: pl.DataFrame

    @property
    def targets(self) -> pl.DataFrame:
        """Condition, concept, layer, neuron of every neuron that was ablated for a concept."""
        rows = self.conditions.filter(kind="target").select("condition", "concept", "neurons").explode("neurons")
        where = pl.col("neurons").str.extract_groups(r"L(?<layer>\d+)N(?<neuron>\d+)")
        return rows.drop_nulls("neurons").with_columns(where.alias("where")).unnest("where").drop("neurons").cast(
            {"layer": pl.Int64, "neuron": pl.Int64}
        )  # fmt: skip


def _made(place: Path) -> Made:
    found = manifest.Manifest.read(place)
    return Made(found.stage if found else "", place.resolve().name, found.command if found else "")


def named(text: str | None, option: str) -> Path | None:
    """The folder of the run that an option names; None for `none` and where nothing is named."""
    return None if text in (None, NONE) else runs.folder(text, option, STAGES[option])


def made_from(run: Path, option: str) -> Path | None:
    """The run that a finished run's own option of this name named; None where it is not there any more, or was only
    named as the latest."""
    start = journal.start(run / JOURNAL)
    text = start["options"].get(option) if start else None
    if text == LATEST:
        return None
    try:
        return named(text, option)
    except UsageError:
        return None
