"""The atlas of runs that were written by hand: one row per neuron, and answers that are known without our code."""

import os
import re
from collections.abc import Iterator
from itertools import product
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import runkit
from cot_neurons import tables as cot
from reasonscope.atlas import atlas
from reasonscope.heldout import watched
from reasonscope.neurons.found import Found, Model, Reader, made_from
from reasonscope.neurons.making import left_out
from reasonscope.options import AtlasOptions
from reasonscope.steps import findings
from runkit.errors import DataError, UsageError
from scipy import stats

from tests.pipelines import atlas_runs as made

POLE = ["layer", "neuron", "polarity"]


class Labelling(runkit.Options):
    neurons: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("atlas")
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.chdir(folder)
        yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def named(place: Path) -> dict[str, Any]:
    """Options that name a run of every source; what would be read to make others is there, and not read."""
    (place / "rows.jsonl").write_text("{}\n")
    unread = {"data": "rows.jsonl", "task": "none", "text": "none", "texts": ("rows.jsonl",), "steps": "rows.jsonl"}
    return made.all_of_them(place) | unread


@pytest.fixture(scope="module")
def run(named: dict[str, Any]) -> Path:
    return atlas(AtlasOptions(**named))


@pytest.fixture(scope="module")
def answers(run: Path) -> dict[tuple[str, str], dict[str, Any]]:
    rows = pl.read_parquet(run / "tables" / "answers.parquet").to_dicts()
    return {(row["question"], row["about"]): row for row in rows}


def test_a_row_per_neuron_and_polarity_holds_what_every_source_says(run: Path):
    neurons = pl.read_parquet(run / "tables" / "neurons.parquet")
    assert neurons.select(POLE).rows() == sorted((*each, sign) for each in made.EVERY for sign in "+-")
    rows = {tuple(row[name] for name in POLE): row for row in neurons.to_dicts()}
    row = rows[0, 0, "+"]
    assert row["concepts"] == ["add"]
    assert row["about"] == ["add"]
    assert row["ablated_for"] == ["add"]
    told = {"hits": 3, "auroc": 0.9, "validated": True, "ablation_change": -3.0, "ablation_beats": 0.95, "logit": 2.0,
            "attribution_kind": "+", "score": 0.5, "null_lookup": 0.6, "selective": "", "known_from": 100,
            "fires_from": 300, "writes_from": 200}  # fmt: skip
    assert {name: row[name] for name in told} == told
    lonely = rows[1, 39, "-"]  # only selectivity knows it
    assert {name for name, value in lonely.items() if value is not None} == {
        "model", *POLE, "memory_auroc", "memory_p", "selective"
    }  # fmt: skip


def by_hand(strata: list[tuple[int, int, int]], found: int) -> tuple[float, float]:
    """Mean of the sum of hypergeometric numbers, and two-sided p of `found`: every way of drawing is counted."""
    ways = [[comb(k, x) * comb(n - k, m - x) for x in range(min(k, m) + 1)] for n, k, m in strata]
    counts: dict[int, int] = {}
    for xs in product(*(range(len(each)) for each in ways)):
        counts[sum(xs)] = counts.get(sum(xs), 0) + int(np.prod([each[x] for each, x in zip(ways, xs, strict=True)]))
    total = sum(counts.values())
    tails = [sum(n for x, n in counts.items() if fits(x)) / total for fits in (found.__le__, found.__ge__)]
    return sum(k * m / n for n, k, m in strata), min(1.0, 2 * min(tails))


def test_labels_against_descriptions(answers: dict[tuple[str, str], dict[str, Any]]):
    """Layer 0: 40 neurons, 4 about add, 5 labelled; layer 1: 40, 3, 3. Four of the eight labelled are about it."""
    row = answers["described", "add"]
    expected, p = by_hand([(40, 4, 5), (40, 3, 3)], 4)
    assert (row["n"], row["value"]) == (8, 0.5)
    assert row["null"] == pytest.approx(expected / 8)
    assert row["p"] == pytest.approx(p)
    others = [answers["described", each]["p"] for each in ("subtract",)]  # multiply and division have no neuron
    assert row["q"] == pytest.approx(stats.false_discovery_control([row["p"], *others])[0])
    assert row["low"] < row["value"] < row["high"]
    nobody = answers["described", "multiply"]
    assert nobody["n"] == 0
    assert nobody["value"] is None
    assert nobody["p"] is None


def test_an_interval_of_one_stratum_is_that_of_the_exact_conditional_odds_ratio(run: Path):
    from reasonscope.neurons.statistics import together

    for n, k, m, x in ((50, 12, 9, 5), (50, 12, 9, 0), (60, 8, 8, 8)):
        one, other = np.arange(n) < m, np.zeros(n, bool)
        other[:x] = other[m : m + k - x] = True
        frame = pl.DataFrame({"layer": [0] * n, "polarity": ["+"] * n, "one": one, "other": other})
        found = together(frame, "one", "other")
        table = [[x, m - x], [k - x, n - m - k + x]]
        low, high = stats.contingency.odds_ratio(table).confidence_interval(0.95)
        means = [stats.nchypergeom_fisher.mean(n, k, m, odds) if 0 < odds < np.inf else float(min(odds, m))
                 for odds in (low, high)]  # fmt: skip
        assert (found.low, found.high) == pytest.approx(means, abs=1e-6)


def test_a_concepts_neurons_carry_it_more_than_controls_and_others_equations(answers: dict[tuple[str, str], Any]):
    row = answers["ablated", "add"]
    assert (row["n"], row["value"], row["null"], row["low"], row["high"]) == (8, -3.0, -0.75, -3.25, -2.75)
    assert row["p"] == pytest.approx(2 / 21)  # one of 20 matched draws hurts as much
    assert "its own most" in row["said"]
    assert "20 of 20 random and 19 of 20 matched" in row["said"]


def test_those_with_a_matching_description_are_compared_with_the_other_labelled_ones(
    answers: dict[tuple[str, str], Any],
):
    yes, no = [2.0, 2.01, 2.02, 2.0], [0.78, 0.79, 0.76, 0.77]
    row = answers["carried, described", "add"]
    assert (row["n"], row["value"], row["null"]) == (4, pytest.approx(np.mean(yes)), pytest.approx(np.mean(no)))
    assert row["p"] == pytest.approx(stats.mannwhitneyu(yes, no).pvalue)
    assert 1.2 < row["low"] < np.mean(yes) - np.mean(no) < row["high"] < 1.3


def test_overlap_of_arithmetic_and_memory(answers: dict[tuple[str, str], Any]):
    """Layer 0: 9 labelled, none of the 10 of memory among them; layer 1: 3 labelled, one of the 10."""
    expected, p = by_hand([(40, 10, 9), (40, 10, 3)], 1)
    row = answers["overlap, memory", "arithmetic"]
    assert row["n"] == 12
    assert row["value"] == pytest.approx(1 / 12)
    assert row["null"] == pytest.approx(expected / 12)
    assert row["p"] == pytest.approx(p)
    assert answers["overlap, reason", "arithmetic"]["value"] == 0


@pytest.mark.parametrize(("onset", "step"), [("known", 100), ("writes", 200)])
def test_when_labelled_neurons_emerged(onset: str, step: int, answers: dict[tuple[str, str], Any]):
    """The one that never does is among the others, as late as they are."""
    row = answers[f"emerged, {onset}", "labelled"]
    assert (row["n"], row["value"], row["null"]) == (12, step, 300)
    assert "the other 68" in row["said"]
    assert row["p"] < 1e-6


def test_the_confusion_of_labels_and_descriptions(run: Path):
    shares = {(a, b): (n, s) for a, b, n, s in pl.read_parquet(run / "tables" / "confusion.parquet").iter_rows()}
    assert shares["add", "add"] == (8, 0.5)
    assert shares["subtract", "add"] == (4, 0.0)
    assert shares["", "add"] == (68, pytest.approx(3 / 68))
    assert shares["add", "decoy"] == (8, 0.5)  # the decoy's token is cat


def test_the_page_tells_it_and_runs_nothing_of_a_description(run: Path, named: dict[str, Any], place: Path):
    text = (run / "report.html").read_text()
    assert text.count('<tr><th scope="row"><code>L') == len(made.EVERY) * 2
    assert "expgen exemplars (--exemplars)" in text  # what was left out
    before = (run / "report.html").stat().st_mtime_ns
    assert atlas(AtlasOptions(**named)) == run
    assert (run / "report.html").stat().st_mtime_ns == before
    other = atlas(AtlasOptions(**named | {"descriptions": made.score(place / "scripted", scripted=True), "seed": 1}))
    text = (other / "report.html").read_text()
    assert made.SCRIPT not in text
    assert "&lt;script&gt;" in text


def test_runs_of_two_models_are_refused_by_name(named: dict[str, Any], place: Path):
    with pytest.raises(UsageError, match=r"--labels .* is of 'another', but --model of 'subject'"):
        atlas(AtlasOptions(**named | {"labels": made.label(place / "two", of="another"), "seed": 2}))


def test_neurons_that_the_model_has_not_are_refused(named: dict[str, Any], place: Path):
    with pytest.raises(UsageError, match=r"neuron L2N7 is not in 'subject', which has 2 layers of 40 neurons"):
        atlas(AtlasOptions(**named | {"labels": made.label(place / "three", extra=(2, 7)), "seed": 3}))


def test_ablations_of_other_labels_are_refused(named: dict[str, Any], place: Path):
    reader = Reader(
        Found(labels=Path(named["labels"]), ablations=(Path(made.ablate(place / "four", ["L1N9"])),)),
        Model.of(named["model"], None),
    )
    with pytest.raises(UsageError, match=r"does not give L1N9 the label 'add'"):
        reader.ablations()


def test_a_folder_without_a_model_is_refused(place: Path):
    with pytest.raises(UsageError, match=r"--model .*atlas"):
        Model.of(str(place), None)


def test_one_source_is_no_atlas(named: dict[str, Any]):
    none = dict.fromkeys(("labels", "attribution", "descriptions", "selectivity"), "none")
    with pytest.raises(
        UsageError, match=r"at least two sources.*only --emergence is left.*ablations: none was asked for"
    ):
        left_out(AtlasOptions(**named | none | {"ablations": "none"}))
    options = AtlasOptions(model=named["model"], labels="none", steps="rows.jsonl")
    assert left_out(options) == {
        "ablations": "--labels none, and no --ablations named",
        "attribution": "--labels none, and no --attribution named",
        "emergence": "no --checkpoints",
        "labels": "none was asked for",
        "neurons": "--labels none, and no --neurons named",
    }


@pytest.mark.parametrize(("ablations", "told"), [("{0},{0}", "the same run twice"), ("none,{0}", "or none alone")])
def test_ablations_are_named_once_and_none_stands_alone(named: dict[str, Any], ablations: str, told: str):
    texts = ablations.format(named["ablations"][0])
    with pytest.raises(UsageError, match=rf"--ablations .*{told}"):
        atlas(AtlasOptions(**named | {"ablations": texts}))


def test_a_page_without_labels_says_so_first_and_shows_no_table_of_nothing(named: dict[str, Any]):
    none = dict.fromkeys(("labels", "ablations", "exemplars"), "none")
    folder = atlas(AtlasOptions(**named | none))
    text = (folder / "report.html").read_text()
    assert findings(folder)[0].startswith("No neuron is labelled with an operator (cot-neurons label (--labels): ")
    assert "cot-neurons ablate (--ablations): none was asked for." in text
    assert not any(f'id="{each}"' in text for each in ("confusion", "shares-described", "shares-memory"))
    assert not (folder / "figures" / "atlas.png").exists()


@pytest.mark.parametrize(
    ("tested", "results", "why"),
    [
        (False, {"held_out_items": 0}, "no label was tested.*discover watched every problem.*make --labels anew"),
        (False, {"held_out_items": 9}, "no label was tested: other chains write no token"),
        (True, {"held_out_items": 9}, "label held up on other chains"),
    ],
)
def test_why_nothing_is_ablated_is_told(
    named: dict[str, Any], place: Path, tested: bool, results: dict[str, float], why: str
):
    auroc = 0.6 if tested else None
    labels = made.label(place / f"untested{tested}{results['held_out_items']}", auroc=auroc, results=results)
    folder = atlas(AtlasOptions(**named | {"labels": labels, "ablations": ()}))
    text = (folder / "report.html").read_text()
    assert re.search(rf"cot-neurons ablate \(--ablations\): .*{why}", text)
    validated = pl.read_parquet(folder / "tables" / "neurons.parquet").drop_nulls("concepts")["validated"]
    assert set(validated) == ({True} if tested else {None})


def test_the_finding_of_overlap_carries_its_caveat(run: Path):
    told = [each for each in findings(run) if "higher in memory steps" in each and "arithmetic" in each]
    assert told
    assert all("Kind and topic coincide where no trace has both kinds of step" in each for each in told)


@pytest.mark.parametrize(("answered", "limit"), [(300, None), (120, None), (60, 40), (30, 15), (1, 1)])
def test_where_problems_are_few_some_are_held_out(tmp_path: Path, answered: int, limit: int | None):
    with runkit.stage("cot-neurons.infer", runkit.Options(out=tmp_path / "infer")) as run:
        run.metrics({"items": answered})
    assert watched(run.folder) == limit


def test_what_a_run_was_made_from_is_found_again(named: dict[str, Any], place: Path):
    """By its own options; `latest` may be another by now, and what is gone is not made up."""
    for text, found in ((named["neurons"], Path(named["neurons"])), ("latest", None), ("gone", None)):
        with runkit.stage("cot-neurons.label", Labelling(out=place / "six", neurons=text, resume=False)) as run:
            run.metrics({"labels": 0})
        assert made_from(run.folder, "neurons") == found


def test_a_damaged_source_is_named(named: dict[str, Any], place: Path):
    folder = Path(made.label(place / "five"))
    path = folder / "tables" / "labels.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"labels\.parquet"):
        Reader(Found(labels=folder), Model.of(named["model"], None)).table("labels", "labels", cot.Labels)
