"""What a person is told of the scores."""

import polars as pl

from expgen import tables
from expgen.options import ScoreOptions
from expgen.scoring import NULLS
from expgen.store import Feature

_KEY = list(tables.FEATURE_KEY)
_SHOWN = 3
_NAMES = {"candidate": "best"} | {kind: kind for kind in NULLS}
CHANCE = {"simulation": 0.0, "detection": 0.5, "fuzzing": 0.5, "intervention": 0.0}
"""The value of a description that says nothing."""


def metrics(scores: pl.DataFrame, best: pl.DataFrame, options: ScoreOptions) -> dict[str, float]:
    """For each scorer: mean and median of the chosen descriptions and of the null descriptions where there is a value,
    how many have none, and the share of features that are `above_other`.
    """
    found: dict[str, float] = {"features": scores.select(_KEY).n_unique(), "described": len(best)}
    for scorer in options.scorers:
        reported = scores.filter(scorer=scorer, split=options.report)
        for kind, name in _NAMES.items():
            values = reported.filter(pl.col("value").is_not_null(), kind=kind)["value"].to_numpy()
            if len(values):
                mean = float(values.mean())
                median = float(pl.Series(values).quantile(0.5, "linear") or 0.0)
                found |= {f"{scorer}_{name}_mean": mean, f"{scorer}_{name}_median": median}
        rows = reported.filter(kind="candidate")
        found |= {f"{scorer}_{told}": len(rows.filter(status=told)) for told in ("silent", "missing", "constant")}
        above = above_other(reported, CHANCE[scorer])
        if len(above):
            found[f"{scorer}_above_other"] = float(above.to_numpy().mean())
    return found


def above_other(reported: pl.DataFrame, chance: float) -> pl.Series:
    """Per feature, whether the whole interval of its description lies above another neuron's description.

    A description that predicts the same everywhere has no value; here it counts as chance. Features of which one of
    the two is missing are left out.
    """
    known = reported.filter(pl.col("status").is_in(["ok", "constant"]))
    ours = known.filter(kind="candidate").select(*_KEY, "low")
    others = known.filter(kind="other").select(*_KEY, other=pl.col("value").fill_null(chance))
    both = ours.join(others, on=_KEY, maintain_order="left")
    return both.select((pl.col("low") > pl.col("other")).fill_null(value=False)).to_series()


def summary(scores: pl.DataFrame, best: pl.DataFrame, options: ScoreOptions) -> dict[str, str]:
    """The numbers in lines, and the best described features."""
    found = metrics(scores, best, options)
    lines = {"features": f"{found['features']:,.0f}, with a description: {found['described']:,.0f}"}
    for scorer in options.scorers:
        told = [f"{name} {found[each]:.3f}" for name in _NAMES.values() if (each := f"{scorer}_{name}_mean") in found]
        none = [f"{found[f'{scorer}_{why}']:.0f} {why}" for why in ("silent", "missing", "constant")]
        share = found.get(f"{scorer}_above_other")
        above = [] if share is None else [f"{100 * share:.0f} % surely above another's"]
        lines[f"{scorer}: means"] = "; ".join([", ".join(told) or "no value", *above, "without: " + ", ".join(none)])
    reasons = scores.filter(pl.col("value").is_null(), kind="candidate", split=options.report)["reason"].drop_nulls()
    if len(reasons):
        counts = reasons.value_counts(sort=True).head(_SHOWN)
        lines["why none"] = "\n".join(f"{count:,}: {reason}" for reason, count in counts.iter_rows())
    top = best.drop_nulls("value").sort("value", descending=True, maintain_order=True).head(_SHOWN)
    said = [f"{Feature(*row[:5])} {row[5]:.2f}  {row[6]}" for row in top.select(*_KEY, "value", "description").rows()]
    return lines | {"best described": "\n".join(said) or "none"}
