"""Numbers of every setting: of one run as measured, of several seeds as their mean with an interval over seeds."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from runkit.page.frames import mean
from runkit.page.numbers import NONE, real, share, spanned_share
from scipy import stats

from memreason import measured
from memreason.judging.confidence import confidence
from memreason.pages.runs_read import Evaluated, Place, Setting
from memreason.trace import KINDS, MEMORY, REASON

Number = Callable[[Evaluated, Place], float | None]


class Estimate(NamedTuple):
    """A number and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def accuracy(setting: Setting, place: Place) -> Estimate:
    """Of several runs their mean, with a t-interval over seeds; of one, or where all are the same, Wilson's interval
    over questions."""
    found = [_hits(run, place) for run in setting.runs]
    shares = [hits / n for hits, n in found]
    if len(set(found)) == 1:
        return Estimate(shares[0], *measured.wilson(*found[0]))
    low, high = over_seeds(shares)
    return Estimate(float(np.mean(shares)), max(0.0, low), min(1.0, high))


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of two or more runs that are not all the same, by Student's t."""
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    return float(low), float(high)


def rate(name: str) -> Number:
    """A number of `measured.rates`, by its name."""
    return lambda run, place: measured.rates(place.of(run.answers), ()).get(name)


def memory_share(run: Evaluated, place: Place) -> float | None:
    """Of the steps that are labelled memory or reason, those labelled memory; None where there are none."""
    told = place.of(run.answers)["kinds"].explode()
    return mean(told.filter(told.is_in(KINDS)) == MEMORY)


def recall(run: Evaluated, place: Place) -> float | None:
    """Of the facts that solutions need, those stated: as evaluate put it on record, since the world is needed for it.

    Toy worlds are one dataset, so that groups of questions go by their split.
    """
    several = len(measured.groups(run.answers)) > 1
    return run.started.metrics.get(f"{place.split}/memory_recall" if several else "memory_recall")


def truth(content: str) -> Number:
    """Of the facts stated (memory) those that are true; of the conclusions (reason) those that follow."""

    def found(run: Evaluated, place: Place) -> float | None:
        steps = checked(run, place)
        return None if steps is None else mean(steps.filter(content=content)["true"].drop_nulls())

    return found


def labels(run: Evaluated, place: Place) -> float | None:
    """Share of steps whose label is their content; see `measured.label_accuracy`. None where the arm has no labels."""
    steps = checked(run, place)
    return measured.label_accuracy(steps) if steps is not None and (steps["kind"] != "").any() else None


def surer(run: Evaluated, place: Place) -> float | None:
    """AUROC with which the mean log-probability of an answer tells right from wrong."""
    return confidence(place.of(run.answers)).get("confidence_auroc")


def checked(run: Evaluated, place: Place) -> pl.DataFrame | None:
    """The exact checker's verdicts on the steps of these answers."""
    return (
        run.checked.join(place.of(run.answers).select("id"), on="id", how="semi") if run.checked is not None else None
    )


def over(setting: Setting, place: Place, number: Number, how: Callable[[float], str] = share) -> str:
    """A number of every run of a setting: the mean, and the least and the most beside it where they differ."""
    known = [value for run in setting.runs if (value := number(run, place)) is not None]
    if not known:
        return NONE
    low, middle, high = how(min(known)), how(float(np.mean(known))), how(max(known))
    return middle if low == high else f"{middle} ({low.removesuffix(' %')} to {high.removesuffix(' %')})"


def told(estimate: Estimate) -> str:
    """91.3 % [87.6, 94.1]"""
    return f"{share(estimate.value)} {spanned_share(estimate.low, estimate.high)}"


def points(value: float) -> str:
    """A difference of shares in percentage points: −3.0."""
    return real(100 * value, 1)


def _hits(run: Evaluated, place: Place) -> tuple[int, int]:
    rows = place.of(run.answers)
    return int(rows["correct"].sum()), len(rows)


VALID, PRECISE = truth(REASON), truth(MEMORY)
