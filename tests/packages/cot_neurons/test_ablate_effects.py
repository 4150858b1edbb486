"""From outcomes made by hand to effects and tests, every number counted or worked out here."""

from math import comb
from typing import Any

import numpy as np
import polars as pl
import pytest
from cot_neurons.ablation import effects, figures, tables
from cot_neurons.ablation.interventions import Condition
from runkit.tables import check

CONDITIONS = [
    Condition(0, None, "baseline", 0, 0.0, ()),
    Condition(1, "add", "target", 0, 1.0, ((0, 1),)),
    *(Condition(2 + i, "add", "random", i, 1.0, ((0, 2 + i),)) for i in range(4)),
]
RIGHT = ["11111100", "10000001", "11111000", "11111111", "10000000", "01000000"]
"""Of each condition, which of eight items it gets right."""
ODDS = [2.0, 1.0, 1.5, 2.5, 0.5, 1.0]


def _outcomes(**changed: pl.Expr) -> pl.DataFrame:
    """Item i has i % 3 sums, of which a condition solves those of the items it gets right."""
    rows: list[dict[str, Any]] = []
    for number, (right, odds) in enumerate(zip(RIGHT, ODDS, strict=True)):
        for i, each in enumerate(right):
            sums, solved = i % 3, each == "1"
            rows.append(
                {
                    "condition": number, "source": "items", "row": 10 + i, "text": "", "correct_strict": solved,
                    "correct_flexible": solved, "no_answer": not solved, "gold_+": sums, "solved_+": sums * solved,
                    "written_+": sums if number != 1 else 0, "true_+": sums * solved if number != 1 else 0,
                    "gold_-": 0, "solved_-": 0, "written_-": 0, "true_-": 0,
                    "forced_+": sums or None, "logp_+": -1.0 * sums * number if sums else None,
                    "odds_+": sums * odds if sums else None,
                    "logp_gold": None, "odds_gold": None, "logp_rest": -3.0 - number, "odds_rest": 1.0, "rest": 2 + i,
                }
            )  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"logp_gold": pl.Float64, "odds_gold": pl.Float64}).with_columns(
        **changed
    )


def _effects(outcomes: pl.DataFrame | None = None) -> dict[tuple[str, int], dict[str, Any]]:
    found = effects.effects(_outcomes() if outcomes is None else outcomes, CONDITIONS, "zero", 0)
    check(found, tables.Effects, "effects")
    return {(row["metric"], row["condition"]): row for row in found.iter_rows(named=True)}


def test_values_and_changes():
    found = _effects()
    sums = np.array([i % 3 for i in range(8)])
    lengths = np.array([2 + i for i in range(8)])
    for number, (right, odds) in enumerate(zip(RIGHT, ODDS, strict=True)):
        mask = np.array([each == "1" for each in right])
        base = np.array([each == "1" for each in RIGHT[0]])
        told = {
            "strict": (mask.mean(), base.mean(), 8),
            "no_answer": (1 - mask.mean(), 1 - base.mean(), 8),
            "solved +": (sums[mask].sum() / sums.sum(), sums[base].sum() / sums.sum(), 5),
            "logp +": (-1.0 * number, 0.0, 5),
            "odds +": (odds, ODDS[0], 5),
            "logp rest": ((-3.0 - number) * 8 / lengths.sum(), -3.0 * 8 / lengths.sum(), 8),
        }
        for metric, (value, baseline, n) in told.items():
            row = found[metric, number]
            assert (row["value"], row["baseline"]) == (pytest.approx(value), pytest.approx(baseline))
            assert (row["change"], row["n"]) == (pytest.approx(value - baseline), n)
            assert (row["mode"], row["amount"], row["kind"]) == ("zero", float(number > 0), CONDITIONS[number].kind)


def test_what_nobody_could_measure_is_absent():
    """No difference in the data, no answer that was read, no other task: no row, and not a 0."""
    metrics = {metric for metric, _ in _effects()}
    assert metrics == {
        "strict", "flexible", "no_answer", "solved +", "true +", "logp +", "odds +", "logp rest", "odds rest"
    }  # fmt: skip


def test_what_one_condition_never_did_is_null():
    """A condition that writes no sum has no share of true ones, neither 0 nor 1; the others have theirs."""
    found = _effects()
    assert [found["true +", 1][name] for name in ("value", "change", "low", "high")] == [None] * 4
    assert found["true +", 2]["change"] is not None
    tests = effects.tests(pl.DataFrame(list(found.values()), schema=tables.columns(tables.Effects)))
    (line,) = tests.filter(metric="true +").iter_rows(named=True)
    assert (line["change"], line["worse_than"], line["draws"]) == (None, None, 4)
    assert line["control_mean"] is not None


def test_mcnemar_is_the_binomial_sum():
    found = _effects()
    for number, right in enumerate(RIGHT[1:], start=1):
        lost = sum(a > b for a, b in zip(RIGHT[0], right, strict=True))
        won = sum(a < b for a, b in zip(RIGHT[0], right, strict=True))
        n = lost + won
        p = sum(comb(n, i) for i in range(n + 1) if comb(n, i) <= comb(n, lost)) / 2**n  # all as unlikely or more
        assert found["strict", number]["mcnemar_p"] == pytest.approx(p)
        assert found["flexible", number]["mcnemar_p"] == pytest.approx(p)
        assert found["logp +", number]["mcnemar_p"] is None
    assert found["strict", 0]["mcnemar_p"] is None


def test_intervals_are_of_the_paired_change():
    """The same change for all items has no width, however unlike they are; a mixed one spans its bootstrap draws."""
    found = _effects()
    assert found["logp +", 2]["low"] == pytest.approx(-2) == found["logp +", 2]["high"]
    change = np.array([int(b) - int(a) for a, b in zip(RIGHT[0], RIGHT[1], strict=True)])
    random = np.random.default_rng(7)
    draws = change[random.integers(8, size=(20000, 8))].mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found["strict", 1]["low"] == pytest.approx(low, abs=0.13)  # changes come in eighths
    assert found["strict", 1]["high"] == pytest.approx(high, abs=0.13)
    assert found["strict", 0]["low"] == found["strict", 0]["high"] == 0


def _tests(outcomes: pl.DataFrame | None = None) -> dict[str, dict[str, Any]]:
    found = pl.DataFrame(list(_effects(outcomes).values()), schema=tables.columns(tables.Effects))
    tests = effects.tests(found)
    check(tests, tables.Tests, "tests")
    return {row["metric"]: row for row in tests.iter_rows(named=True)}


def test_worse_than_is_counted():
    """Draws that hurt less than the target does; equal ones do not count, and of no_answer more is worse."""
    found = _tests()
    share = [right.count("1") / 8 for right in RIGHT]
    assert found["strict"]["worse_than"] == sum(each > share[1] for each in share[2:]) / 4 == 0.5
    assert found["no_answer"]["worse_than"] == 0.5
    assert found["odds +"]["worse_than"] == sum(each > ODDS[1] for each in ODDS[2:]) / 4 == 0.5
    assert found["logp +"]["worse_than"] == 0  # the draws lose 2, 3, 4 and 5 nats, the target 1
    for row in found.values():
        assert (row["control"], row["draws"], row["concept"]) == ("random", 4, "add")


def test_controls_are_summed_up():
    found = _tests()
    assert found["odds +"]["control_mean"] == pytest.approx(np.mean(ODDS[2:]) - ODDS[0])
    assert found["odds +"]["control_worst"] == pytest.approx(min(ODDS[2:]) - ODDS[0])
    worst = max(8 - right.count("1") for right in RIGHT[2:]) - (8 - RIGHT[0].count("1"))
    assert found["no_answer"]["control_worst"] == pytest.approx(worst / 8)


def test_perplexity_of_other_text_is_worse_the_larger():
    """exp of the mean negative log-probability per token over all stretches, not a mean of perplexities."""
    text = _outcomes(source=pl.lit("text"))
    found = _effects(text)
    tokens = sum(2 + i for i in range(8))
    perplexity = [float(np.exp(8 * (3.0 + number) / tokens)) for number in range(len(RIGHT))]
    for number, value in enumerate(perplexity):
        row = found["perplexity", number]
        assert (row["value"], row["change"]) == (pytest.approx(value), pytest.approx(value - perplexity[0]))
    tests = _tests(text)["perplexity"]
    assert tests["worse_than"] == 0  # every draw is more perplexed than the target
    assert tests["control_worst"] == pytest.approx(max(perplexity) - perplexity[0])


def test_a_single_item_has_values_but_no_interval():
    found = _effects(_outcomes().filter(row=10))
    for (metric, _), row in found.items():
        assert row["n"] == 1
        assert row["low"] is None, metric
        assert row["change"] is not None
    assert found["strict", 5]["change"] == -1


def test_the_other_task_and_text_are_measured_apart():
    task = _outcomes(source=pl.lit("task"), correct_strict=~pl.col("correct_strict"))
    text = _outcomes(source=pl.lit("text")).with_columns(pl.lit(None, pl.Boolean).alias("correct_strict"))
    found = _effects(pl.concat([_outcomes(), task, text]))
    assert found["task strict", 1]["value"] == 1 - found["strict", 1]["value"]
    assert found["text logp", 3]["value"] == pytest.approx(found["logp rest", 3]["value"])
    assert found["strict", 1]["n"] == found["task strict", 1]["n"] == 8
    assert ("text strict", 0) not in found


@pytest.mark.parametrize("measured", ["all", "answers"])
def test_the_figure_shows_every_target_and_draw(measured: str):
    """One dot per condition and metric, on each side; where no solution was read, the right side says so."""
    nothing = {name: pl.lit(None, pl.Float64) for name in ("logp_+", "odds_+", "logp_rest", "odds_rest")}
    found = effects.effects(_outcomes(**({} if measured == "all" else nothing)), CONDITIONS, "zero", 0)
    axes = figures.ablation(found).axes
    clouds = [[np.asarray(cloud.get_offsets()) for cloud in panel.collections] for panel in axes]
    dots = [sum(len(each) for each in cloud if len(each) > 1) for cloud in clouds]
    assert dots == ([8, 4] if measured == "all" else [8, 0])
    assert [len(panel.containers) for panel in axes] == ([2, 1] if measured == "all" else [2, 0])
    assert axes[0].get_title(loc="left") == "add  (zero)"
    assert bool(axes[1].texts) is (measured == "answers")
