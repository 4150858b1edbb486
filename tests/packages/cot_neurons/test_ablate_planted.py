"""What the stage says of neurons set by hand, against their effect worked out with NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from specimens.planted import PROMPT

from tests.packages.cot_neurons import ablate_subjects as subjects
from tests.packages.cot_neurons import made
from tests.packages.cot_neurons.ablate_subjects import GROUPS, NEURONS, SOLUTION, ids


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, store: str):
    """A folder with the model, its items and labels; figures are not looked at here."""
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", store)
        made.draw_nothing(patch)
        yield folder


def _near(value: float) -> Any:
    """The model's norms divide by a number that is only nearly the same everywhere."""
    return pytest.approx(value, rel=1e-3, abs=2e-3)


def _tokens(where: str) -> list[int]:
    """The tokens at which a neuron is intervened on, of those that the finished chain has."""
    tokens, prompt = ids(PROMPT) + ids(SOLUTION), len(ids(PROMPT))
    return {"all": tokens, "prompt": tokens[: prompt - 1], "generated": tokens[prompt - 1 : -1]}[where]


def _told(scores: np.ndarray) -> dict[str, float]:
    """Columns of `outcomes`, by hand."""
    groups = np.array(GROUPS)
    told: dict[str, float] = {}
    for group in ("+", "gold", "rest"):
        mine = scores[groups == group]
        told |= {f"logp_{group}": mine[:, 0].sum(), f"odds_{group}": mine[:, 1].mean()}
    return told | {"odds_rest": scores[groups == "rest", 1].sum(), "rest": 11, "forced_+": 1}


CHANGES = [
    ("zero", (), "all", lambda _mean: lambda _m: 0.0),
    ("zero", (), "generated", lambda _mean: lambda _m: 0.0),
    ("zero", (), "prompt", lambda _mean: float),
    ("mean", (), "all", lambda mean: lambda _m: mean),
    ("mean", (), "generated", lambda mean: lambda _m: mean),
    ("mean", (), "prompt", lambda _mean: float),
    ("scale", (0.5, -1.0, 2.0), "all", lambda factor: lambda m: factor * m),
    ("scale", (0.25,), "generated", lambda factor: lambda m: factor * m),
]


@pytest.mark.parametrize(("mode", "amounts", "where", "change"), CHANGES)
def test_scores_of_the_reference_solution_are_those_worked_out_by_hand(
    place: Path, mode: str, amounts: tuple[float, ...], where: str, change: Any
):
    folder = subjects.run(place, mode=mode, amounts=amounts, where=where)
    outcomes = subjects.targets(folder, "outcomes")
    assert set(outcomes) == {(concept, amount) for concept in NEURONS for amount in amounts or (1.0,)}
    start = len(ids(PROMPT))
    plain = _told(subjects.scored(ids(PROMPT) + ids(SOLUTION), start, {}))
    moved = 0
    for (concept, amount), rows in outcomes.items():
        neuron = NEURONS[concept]
        given = amount if mode == "scale" else subjects.mean(neuron, _tokens(where))
        told = _told(subjects.scored(ids(PROMPT) + ids(SOLUTION), start, {neuron: change(given)}))
        moved += any(abs(told[name] - plain[name]) > 0.01 for name in told)
        assert len(rows) == 3
        for row in rows.iter_rows(named=True):
            assert {name: row[name] for name in told} == {name: _near(value) for name, value in told.items()}
            assert [row[f"forced_{sign}"] for sign in "-*/"] == [None] * 3
    assert moved == (0 if where == "prompt" else len(outcomes)), "neurons that change nothing would prove nothing"
    baseline = subjects.table(folder, "outcomes").filter(condition=0)
    for row in baseline.iter_rows(named=True):
        assert {name: row[name] for name in plain} == {name: _near(value) for name, value in plain.items()}


def test_the_mean_depends_on_where(place: Path):
    """A plant fires at another share of the prompt and of the chain, so these are other interventions."""
    logp = {
        where: subjects.targets(subjects.run(place, mode="mean", where=where), "outcomes")["equals_to", 1.0]
        for where in ("all", "generated")
    }
    means = {where: subjects.mean(NEURONS["equals_to"], _tokens(where)) for where in logp}
    assert means["all"] / means["generated"] == pytest.approx(16 / 35)
    assert (logp["generated"]["logp_gold"] - logp["all"]["logp_gold"]).min() > 0.3  # pyright: ignore[reportOptionalOperand, reportOperatorIssue]


@pytest.mark.parametrize("where", ["all", "generated", "prompt"])
def test_what_is_written_changes_where_a_neuron_decides(place: Path, where: str):
    folder = subjects.run(place, mode="zero", where=where)
    outcomes = subjects.targets(folder, "outcomes")
    told = {
        concept: rows.unique(set(rows.columns) - {"row"}).row(0, named=True) for (concept, _), rows in outcomes.items()
    }
    (whole,) = subjects.table(folder, "outcomes").filter(condition=0)["text"].unique()
    assert whole == SOLUTION
    wrong = {} if where == "prompt" else {"add": ("= 5", "= 6"), "equals_to": ("is 5", "is 7")}
    for concept, row in told.items():
        assert row["text"] == SOLUTION.replace(*wrong.get(concept, ("", "")))
        sums = "add" in wrong and concept == "add"
        assert (row["gold_+"], row["solved_+"], row["written_+"], row["true_+"]) == (1, not sums, 1, not sums)
        assert (row["gold_-"], row["written_*"], row["true_/"]) == (0, 0, 0)
        assert row["correct_strict"] is not (concept in wrong and concept == "equals_to")
        assert row["no_answer"] is False


def test_effects_and_tests_tell_it(place: Path):
    """Three items, so a condition that breaks all: p = 2/2^3; worse than the one draw of dead neurons."""
    folder = subjects.run(place, mode="zero", where="all", text=str(_text(place)), task=str(place / "items.parquet"))
    effects = subjects.targets(folder, "effects")
    of = {(concept, row["metric"]): row for (concept, _), rows in effects.items() for row in rows.iter_rows(named=True)}
    assert (of["add", "solved +"]["value"], of["add", "solved +"]["change"]) == (0, -1)
    assert (of["add", "strict"]["change"], of["add", "strict"]["mcnemar_p"]) == (0, 1)
    assert (of["equals_to", "strict"]["change"], of["equals_to", "strict"]["mcnemar_p"]) == (-1, 0.25)
    assert of["equals_to", "task strict"]["change"] == -1
    assert of["multiply", "strict"]["change"] == 0
    assert {metric for _, metric in of} >= {"text logp", "text odds", "task logp", "task odds", "true +"}
    assert not {metric for _, metric in of} & {"solved -", "true *", "logp /", "odds *"}
    words = ids("The answer is 5.")
    for concept in ("add", "equals_to"):
        change = {} if concept == "add" else {NEURONS[concept]: lambda _m: 0.0}
        scores = subjects.scored(words, 1, change)
        assert of[concept, "text logp"]["value"] == _near(scores[:, 0].mean())
        assert of[concept, "text odds"]["value"] == _near(scores[:, 1].mean())
        assert of[concept, "text logp"]["n"] == 1
    tests = subjects.table(folder, "tests").filter(concept="add", metric="solved +")
    assert tests.select("control", "draws", "change", "control_mean", "worse_than").rows() == [("random", 1, -1, 0, 1)]
    tests = subjects.table(folder, "tests").filter(concept="add", metric="strict")
    assert tests["worse_than"].to_list() == [0]  # as good as the whole model, hence not worse than any


def _text(place: Path) -> Path:
    file = place / "other.txt"
    file.write_text("The answer is 5.")
    return file


@pytest.mark.parametrize("mode", ["noise", "value-noise", "resample", "reference"])
def test_dead_and_silent_neurons_have_no_effect(place: Path, mode: str):
    """Value noise of a silent neuron, noise of one that never varies, another step's 0: nothing, to the last bit."""
    folder = subjects.run(place, mode=mode)
    outcomes = subjects.table(folder, "outcomes")
    conditions = subjects.table(folder, "conditions")
    random = conditions.filter(
        pl.col("kind") == "random",
        ~pl.col("neurons").list.eval(pl.element().is_in(["L0N1", "L0N2", "L1N5", "L2N0", "L3N7"])).list.any(),
    )
    assert len(random) == 3
    columns = ["row", "text", "logp_+", "odds_+", "logp_gold", "logp_rest", "odds_rest"]
    for number in random["condition"]:
        assert outcomes.filter(condition=number).select(columns).equals(outcomes.filter(condition=0).select(columns))
    target = outcomes.filter(condition=1).select("logp_+", "logp_rest")
    assert not target.equals(outcomes.filter(condition=0).select("logp_+", "logp_rest"))


def test_noise_grows_with_the_dose(place: Path):
    """The same draws at another amount: the log-odds of what the neuron alone decides move in proportion."""
    folder = subjects.run(place, mode="noise", amounts=(0.5, 1.0, 2.0))
    outcomes = subjects.table(folder, "outcomes")
    plain = outcomes.filter(condition=0)["odds_+"].to_numpy()
    moved = {
        amount: rows["odds_+"].to_numpy() - plain
        for (concept, amount), rows in subjects.targets(folder, "outcomes").items()
        if concept == "add"
    }
    assert np.abs(moved[0.5]).min() > 0
    assert len(set(np.round(moved[1.0], 6))) == 3  # every item has draws of its own
    for amount in (0.5, 2.0):
        assert np.sign(moved[amount]) == pytest.approx(np.sign(moved[1.0]))
    assert np.abs(moved[0.5]).mean() < np.abs(moved[1.0]).mean() < np.abs(moved[2.0]).mean()
