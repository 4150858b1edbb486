"""What a simulator is taught with: descriptions and texts of features, and how strongly these fire at each token."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from actkit import Model
from jaxtyping import Int
from runkit import refs
from runkit.errors import DataError
from runkit.progress import track
from runkit.tables import read

from expgen import tables
from expgen.options import TrainSimulatorOptions
from expgen.scoring.material import material, truth
from expgen.scoring.origins import check_origin
from expgen.simulating.alignment import Alignment
from expgen.simulating.trained import LEVELS, Encoder
from expgen.store import Excerpt, Exemplars, Feature

_KEY = list(tables.FEATURE_KEY)


class Pupil(NamedTuple):
    """A feature that is described. `peak`: its strongest activation in the train split, above 0."""

    feature: Feature
    descriptions: tuple[str, ...]
    peak: float


class Lesson(NamedTuple):
    """A description and a text as token ids. `at`: the positions that are read; `levels`: what they should say."""

    ids: list[int]
    at: Int[np.ndarray, " n"]
    levels: Int[np.ndarray, " n"]
    alignment: Alignment


def pupils(options: TrainSimulatorOptions, exemplars: Exemplars) -> list[Pupil]:
    """The features that have descriptions and fire, in the order of the table.

    Raises:
        UsageError: there is no such table, or it is of another model.
        DataError: there is none.
    """
    path = refs.resolve(options.descriptions, stage="expgen.describe", artifact="tables/descriptions.parquet")
    table = read(path, tables.Descriptions)
    check_origin(path, table, exemplars)
    rows = table.filter(status="ok").sort("candidate", maintain_order=True)
    rows = rows.group_by(_KEY, maintain_order=True).agg(pl.col("description").unique(maintain_order=True))
    rows = exemplars.features.filter("alive").select(*_KEY, "peak").join(rows, on=_KEY, maintain_order="left")
    found = [Pupil(Feature(*key), tuple(said), abs(peak)) for *key, peak, said in rows.iter_rows()]
    if not found:
        raise DataError(
            f"{path}: none of its {len(table)} rows is a description (status ok) of a feature that fires in "
            f"{exemplars.folder}: nothing can be learnt from it"
        )
    return found


def divided(found: Sequence[Pupil], share: float, seed: int) -> tuple[list[Pupil], list[Pupil]]:
    """Those that are taught and those held out: whole neurons, so that both polarities are on the same side.

    Raises:
        DataError: there is one neuron only.
    """
    neurons = list(dict.fromkeys(each.feature[:4] for each in found))
    if len(neurons) < 2:
        raise DataError(
            f"only one neuron has descriptions ({found[0].feature}): to teach a simulator and to hold some out takes "
            "two at least; describe more of them"
        )
    count = min(max(1, round(share * len(neurons))), len(neurons) - 1)
    drawn = np.random.default_rng((seed, len(neurons))).choice(len(neurons), count, replace=False)
    held = {neurons[number] for number in drawn}
    taught = [each for each in found if each.feature[:4] not in held]
    return taught, [each for each in found if each.feature[:4] in held]


def lessons(
    taught: Sequence[Pupil], exemplars: Exemplars, encode: Encoder, model: Model, options: TrainSimulatorOptions
) -> list[Lesson]:
    """One per feature, description and train excerpt (the strongest, then random ones).

    Raises:
        DataError: one is longer than the model's context.
    """
    found: list[Lesson] = []
    for pupil in track(taught, "features to learn from"):
        for excerpt in material(exemplars, pupil.feature, "train", options.top, options.random).excerpts:
            made = [_lesson(encode, each, excerpt, pupil.peak) for each in pupil.descriptions]
            _check_length(made, model, pupil, excerpt)
            found += [each for each in made if len(each.at)]
    return found


def levels(excerpt: Excerpt, peak: float) -> Int[np.ndarray, " T"]:
    """Activations as whole numbers: 10 max(a, 0) / peak, rounded, at most 10; -1 where they do not count."""
    shares = LEVELS * truth(excerpt) / peak
    return np.where(np.isfinite(shares), np.clip(np.floor(np.nan_to_num(shares) + 0.5), 0, LEVELS), -1).astype(int)


def _lesson(encode: Encoder, description: str, excerpt: Excerpt, peak: float) -> Lesson:
    ids, at = encode(description, excerpt.text)
    wanted = levels(excerpt, peak)
    kept = (at >= 0) & (wanted >= 0)
    spans = excerpt.text.spans
    return Lesson(ids, at[kept], wanted[kept], Alignment(at, spans[:, 1] > spans[:, 0]))


def _check_length(made: Sequence[Lesson], model: Model, pupil: Pupil, excerpt: Excerpt) -> None:
    longest = max(len(each.ids) for each in made)
    if model.context is not None and longest > model.context:
        raise DataError(
            f"{pupil.feature}, sequence {excerpt.sequence} of {excerpt.split} ({len(excerpt.text.ids)} tokens of the "
            f"subject): with its description it takes {longest} tokens, but the model's context is {model.context}: "
            "take a model with a longer context, or exemplars with a smaller --window and --seq-len"
        )
