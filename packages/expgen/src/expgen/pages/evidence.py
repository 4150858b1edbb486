"""What the page and the database are made from: tables of finished runs, read once and held against each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandera.polars as pa
import polars as pl
from runkit import manifest, runs
from runkit.errors import UsageError
from runkit.options import flag
from runkit.page.sources import Made, Sources
from runkit.tables import NEURON_KEY, NeuronKey, Table

from expgen import tables
from expgen.options import ReportOptions
from expgen.store import Exemplars

KEY = list(tables.FEATURE_KEY)
NEURON = ["source", "layer", "neuron"]
NULLS = {"null_other": "another feature’s", "null_empty": "empty", "null_lookup": "token look-up"}
"""Columns of null descriptions' scores, and what they are called."""
_KEYS = pl.col("source") + "." + pl.col("layer").cast(str) + "." + pl.col("neuron").cast(str)


class Labels(NeuronKey):
    """What is read of cot-neurons' table `labels`."""

    concept: str
    score: float
    judge: str
    rationale: str
    auroc: float = pa.Field(nullable=True)
    auroc_low: float = pa.Field(nullable=True)
    auroc_high: float = pa.Field(nullable=True)
    validated: bool = pa.Field(nullable=True)

    class Config(Table.Config):
        strict = "filter"


class Promoted(pa.DataFrameModel):
    """The tokens that each neuron of mlp_post raises and lowers when it is positive, strongest first."""

    layer: int
    neuron: int
    promotes: pl.List = pa.Field(dtype_kwargs={"inner": pl.String})
    suppresses: pl.List = pa.Field(dtype_kwargs={"inner": pl.String})


@dataclass(frozen=True)
class Evidence:
    """All tables; those of stages that were not named are empty. `features` has `id` and `name` beside its key."""

    exemplars: Exemplars
    features: pl.DataFrame
    descriptions: pl.DataFrame
    scores: pl.DataFrame
    best: pl.DataFrame
    labels: pl.DataFrame
    promoted: pl.DataFrame
    made: list[Made]

    @classmethod
    def read(cls, options: ReportOptions) -> "Evidence":
        """The tables that the options name.

        Raises:
            UsageError: a run is not there, of another stage, of another model or of other features.
            DataError: a table is damaged.
        """
        exemplars = Exemplars.open(options.exemplars)
        ours, theirs = Sources("expgen"), Sources("cot-neurons")
        described = ours.perhaps(options.descriptions, "descriptions", "describe")
        scored = ours.perhaps(options.scores, "scores", "score")
        labelled = theirs.perhaps(options.labels, "labels", "label")
        made = cls(
            exemplars=exemplars,
            features=exemplars.features.with_columns(name=_KEYS + pl.col("polarity")).with_row_index("id"),
            descriptions=_table(described, "descriptions", tables.Descriptions),
            scores=_table(scored, "scores", tables.Scores).drop("description"),
            best=_table(scored, "best", tables.Best),
            labels=_table(labelled, "labels", Labels),
            promoted=empty(Promoted),
            made=[_made(exemplars.folder), *ours.made, *theirs.made],
        )
        made._check(options)
        return made

    def has(self, stage: str) -> bool:
        """Whether a run of this stage was named."""
        return any(each.stage == stage for each in self.made)

    @cached_property
    def scorer(self) -> str | None:
        """The scorer that comes first: the one whose scores sort the features."""
        return self.best["scorer"][0] if len(self.best) else None

    @cached_property
    def sides(self) -> pl.DataFrame:
        """`features` with the chosen description, its score and the nulls', and `sigmas`: how far the peak stands out.

        `status`: ok, silent, invalid, error, or null where nobody was asked to describe it.
        """
        sign = pl.when(polarity="+").then(1).otherwise(-1)
        sigmas = pl.when(pl.col("std") > 0).then(sign * (pl.col("peak") - pl.col("mean")) / pl.col("std"))
        told = self.descriptions.sort(pl.col("status") != "ok", "candidate", maintain_order=True)
        first = told.unique(KEY, keep="first", maintain_order=True).select(*KEY, "status", "reason", said="description")
        best = self.best.filter(pl.col("scorer") == pl.lit(self.scorer, pl.String)).rename(
            {"low": "score_low", "high": "score_high"}
        )
        frame = self.features.with_columns(sigmas=sigmas).join(first, on=KEY, how="left", maintain_order="left")
        frame = frame.join(best, on=KEY, how="left", maintain_order="left")
        return frame.with_columns(pl.coalesce("description", "said").alias("description")).drop("said")

    @cached_property
    def neurons(self) -> pl.DataFrame:
        """SOURCE, layer and neuron of every feature, the best described first, then the sharpest."""
        ranked = self.sides.group_by(NEURON, maintain_order=True).agg(
            pl.max("value"), pl.col("description").is_not_null().any(), pl.max("sigmas")
        )
        by = ["value", "description", "sigmas"]
        return ranked.sort(by, descending=True, nulls_last=True, maintain_order=True).select(NEURON)

    def _check(self, options: ReportOptions) -> None:
        """Raises UsageError where a table is of another model than the exemplars, or of features they have not."""
        if options.scores and not options.descriptions:
            raise UsageError("--scores: name the run of describe that was scored too, with --descriptions")
        for option, frame in self._named():
            others = set(frame["model"].unique()) - {self.exemplars.model}
            if others:
                raise UsageError(
                    f"{flag(option)} {getattr(options, option)} is of {min(others)!r}, but --exemplars "
                    f"{options.exemplars} of {self.exemplars.model!r}: name runs of one model"
                )
            strange = frame.join(self.features, on=KEY, how="anti") if "source" in frame.columns else frame.clear()
            if len(strange):
                name = strange.select(_KEYS + pl.col("polarity")).item(0, 0)
                raise UsageError(
                    f"{flag(option)} {getattr(options, option)} tells of {name}, which --exemplars {options.exemplars} "
                    "does not hold: name the run of exemplars it was made from"
                )

        others = self.best.join(self.descriptions, on=[*KEY, "candidate", "description"], how="anti")
        if len(others):
            raise UsageError(
                f"--scores {options.scores} is not of --descriptions {options.descriptions}, which does not hold "
                f"{others['description'][0]!r}: name the run of describe that was scored"
            )

    def _named(self) -> Iterator[tuple[str, pl.DataFrame]]:
        yield from (("descriptions", self.descriptions), ("scores", self.scores), ("labels", self.labels))


def empty(schema: type) -> pl.DataFrame:
    """A table without rows."""
    return pl.DataFrame(schema={name: column.dtype.type for name, column in schema.to_schema().columns.items()})


def joined_labels(evidence: Evidence) -> pl.DataFrame:
    """cot-neurons' labels with `id` of the feature they are of: labels are of MLP neurons."""
    ours = evidence.features.filter(source="mlp_post").select("id", *NEURON_KEY)
    return evidence.labels.join(ours, on=NEURON_KEY, how="inner", maintain_order="left")


def _table(place: Path | None, name: str, schema: type) -> pl.DataFrame:
    return empty(schema) if place is None else runs.table(place, name, schema)


def _made(place: Path) -> Made:
    found = manifest.Manifest.read(place)
    stage = found.stage.partition(".")[2] if found else ""
    return Made(stage, place.resolve().name, found.command if found else "")
