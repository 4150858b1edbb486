"""Scores by simulation: what predicts well scores high, what cannot be measured has no score, and nothing is fitted."""

import os
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from expgen import tables
from expgen.options import ScoreOptions
from expgen.score import score
from expgen.scoring import Trial, bench, cases, contest
from expgen.scoring.cases import Cases
from expgen.scoring.contest import Contest
from expgen.scoring.material import material
from expgen.scoring.simulation import Lookup, Simulation
from expgen.store import Exemplars
from runkit.errors import DataError, UsageError
from runkit.options import parse

from tests.packages.expgen import made, scored
from tests.packages.expgen.scored import COLOURS, Scripted, neuron

RED = neuron(0)


@pytest.fixture(scope="module")
def exemplars(tmp_path_factory: pytest.TempPathFactory, store: str) -> Exemplars:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store)
        return scored.run(tmp_path_factory.mktemp("exemplars") / "run")


def _options(exemplars: Exemplars, table: Path | None = None, **more) -> ScoreOptions:
    given = {"descriptions": str(table)} if table else {}
    return parse(ScoreOptions, {"exemplars": str(exemplars.folder), "out": Path("scores"), **given, **more})


def _simulated(exemplars: Exemplars, says, feature=RED, split="test", description="x"):
    scorer = Simulation(Scripted(says), exemplars, seed=0, draws=50)
    trial, given = Trial(feature, description), material(exemplars, feature, split, 10, 10)
    return scorer.concluded(trial, scorer.evidence([(trial, given)])[0])


def _truth(words: list[str]) -> np.ndarray:
    return np.maximum(made.on("red")(words), 0)


def test_the_score_does_not_care_for_scale_and_keeps_its_sign(exemplars: Exemplars):
    noise = np.random.default_rng(0)
    blurred = {}

    def noisy(words: list[str]) -> np.ndarray:
        return blurred.setdefault(" ".join(words), _truth(words) + noise.normal(size=len(words)))

    plain = _simulated(exemplars, lambda _, words: noisy(words))
    assert 0.2 < plain.value < 0.9
    assert plain.low < plain.value < plain.high
    assert plain.n == 20
    affine = _simulated(exemplars, lambda _, words: 7 - 3 * -noisy(words))
    assert affine[:3] == pytest.approx(plain[:3], abs=1e-9)
    negated = _simulated(exemplars, lambda _, words: -noisy(words))
    assert negated.value == pytest.approx(-plain.value, abs=1e-9)
    assert negated.high < 0, "what predicts the contrary is no good description"
    oracle = _simulated(exemplars, lambda _, words: _truth(words))
    assert oracle[:3] == pytest.approx((1, 1, 1), abs=1e-9)


def test_the_score_is_the_correlation_over_the_tokens_of_all_sequences(exemplars: Exemplars):
    """Recomputed from the excerpts; tokens without a prediction are left out."""

    def lengths(words: list[str]) -> list[float]:
        return [np.nan if word == " a" else len(word) for word in words]

    given = [*exemplars.excerpts(RED, "test", range(10))]
    given += [each for each in exemplars.random(RED, "test") if each.sequence not in {x.sequence for x in given}][:10]
    predicted = np.concatenate([lengths(made.words(each.text.text)) for each in given])
    true = np.concatenate([np.maximum(each.activations, 0) for each in given])
    known = ~np.isnan(predicted)
    assert not known.all()
    found = _simulated(exemplars, lambda _, words: lengths(words))
    assert found.value == pytest.approx(np.corrcoef(predicted[known], true[known])[0, 1], abs=1e-9)


def test_how_long_a_text_is_does_not_tell_whether_it_is_a_random_one(workplace: Path):
    run = scored.run(workplace / "long", window=6, k=4)  # sequences of twelve words
    given = material(run, scored.neuron(0), "test", 4, 8)
    assert {each.rank < 0 for each in given.excerpts} == {True, False}
    for each in given.excerpts:
        words = made.words(each.text.text)
        assert len(words) == len(each.activations) == 6
        assert words == [each.text.text[a:b] for a, b in each.text.spans]
        np.testing.assert_array_equal(each.activations == 2, [word == " red" for word in words])


def test_permuted_predictions_score_about_nothing(exemplars: Exemplars):
    random = np.random.default_rng(0)
    all_ = np.concatenate([_truth(made.words(text)) for text in scored.texts()["test"]])  # over all sequences
    values = [_simulated(exemplars, lambda _, words: random.choice(all_, len(words))).value for _ in range(30)]
    assert abs(np.mean(values)) < 0.06
    assert max(map(abs, values)) < 0.35


def test_what_does_not_vary_has_no_score(workplace: Path, exemplars: Exemplars):
    constant = _simulated(exemplars, lambda _, words: [0.1] * len(words))
    assert constant == (None, None, None, 20, "constant", "the prediction is constant")
    rounding = _simulated(exemplars, lambda _, words: 0.1 + 1e-18 * np.arange(len(words)))
    assert rounding.value is None
    nowhere = scored.run(workplace / "silent", [lambda words: [-1.0] * len(words)])
    silent = _simulated(nowhere, lambda _, words: [float(len(word)) for word in words])
    assert silent.status == "constant"
    assert "does not fire" in silent.reason


def test_failed_predictions_are_left_out_and_too_many_of_them_leave_nothing(exemplars: Exemplars):
    texts = [each.text.text for each in material(exemplars, RED, "test", 10, 10).excerpts]

    def failing(count: int):
        return lambda _, words: "HTTP 503" if "".join(words) in texts[:count] else _truth(words)

    some = _simulated(exemplars, failing(6))
    assert some.value == pytest.approx(1)
    assert (some.n, some.status) == (14, "ok")
    assert "6 of 20" in some.reason
    assert "HTTP 503" in some.reason
    most = _simulated(exemplars, failing(11))
    assert most[:5] == (None, None, None, 9, "missing")
    assert "11 of 20" in most.reason
    assert _simulated(exemplars, failing(20)).status == "missing"


def test_a_look_up_knows_each_tokens_mean_of_the_train_split(exemplars: Exemplars):
    """All sequences of a made run count as random ones, so the mean is over the whole split."""
    seen: dict[str, list[float]] = {}
    for text in scored.texts()["train"]:
        words = made.words(text)
        for word, value in zip(words, _truth(words), strict=True):
            seen.setdefault(word, []).append(value)
    table = Lookup.of(exemplars, RED)
    for each in exemplars.random(RED, "train")[:5]:
        expected = [np.mean(seen[word]) for word in made.words(each.text.text)]
        np.testing.assert_allclose(table.values(each), expected, atol=1e-6)
    strange = exemplars.random(RED, "train")[0]
    unknown = strange._replace(text=strange.text._replace(ids=strange.text.ids + 1000))
    assert not table.values(unknown).any()


def test_halving_hears_less_and_finds_the_same(exemplars: Exemplars):
    """Eight candidates of falling quality: the one that knows red, then those that know more and more else."""
    said = [f"knows {n}" for n in (3, 5, 0, 7, 1, 6, 2, 4)]

    def says(description: str, words: list[str]) -> list[float]:
        known = ("red", *scored._WORDS[1 : 1 + int(description.split()[1])])
        return [float(word.strip() in known) for word in words]

    found = {}
    for halving in (True, False):
        scorer = Simulation(simulator := Scripted(says), exemplars, seed=0, draws=20)
        held = Contest([Trial(RED, text, "candidate", i) for i, text in enumerate(said)],
                       material(exemplars, RED, "valid", 10, 10))  # fmt: skip
        contest.hold(scorer, [held], halving=halving)
        report = (held.candidates[held.winner], material(exemplars, RED, "test", 10, 10))
        found[halving] = (held, len(simulator.asked), scorer.concluded(report[0], scorer.evidence([report])[0]))
    (short, few, reported), (long, many, same) = found[True], found[False]
    assert short.winner == long.winner == said.index("knows 0")
    assert reported == same
    assert many == 8 * 20
    assert few == 8 * 7 + 4 * 7 + 2 * 6
    assert short.scores[short.winner].value == pytest.approx(long.scores[long.winner].value, abs=1e-9)
    assert [each.status for each in short.scores].count("dropped") == 6
    for one, other in zip(short.scores, long.scores, strict=True):
        assert one.value is not None, "who is dropped keeps the value it had"
        assert (one.status == "dropped") == (one.n < other.n == 20)


def test_candidates_are_chosen_on_one_split_and_reported_on_the_other(workplace: Path):
    """It fires on red and blue; red stands in the valid split alone, blue in the test split alone."""
    rest = tuple(word for word in scored._WORDS if word not in ("red", "blue"))
    by_split = {
        "train": scored.texts()["train"],
        "valid": scored.texts(words=("red", *rest))["valid"],
        "test": scored.texts(words=("blue", *rest))["test"],
    }
    run = scored.run(workplace / "run", [made.on("red", "blue"), made.on("grey")], texts=by_split)
    table = scored.descriptions(workplace / "d.parquet", [['fires on "blue"', 'fires on "red"'], ['fires on "grey"']])
    best = scored.table(score(_options(run, table)), "best").filter(neuron=0).row(0, named=True)
    assert best["description"] == 'fires on "red"', "the best on valid, however bad on test"
    assert best["chosen"] > 0.99
    assert best["value"] is None
    other_way = _options(run, table, select="test", report="valid", out=workplace / "other")
    best = scored.table(score(other_way), "best").filter(neuron=0).row(0, named=True)
    assert best["description"] == 'fires on "blue"'
    for same in ("valid", "test"):
        with pytest.raises(UsageError, match=f"both {same}"):
            _options(run, table, select=same, report=same)


@pytest.mark.usefixtures("drawn")
def test_right_descriptions_score_high_and_shuffled_ones_about_nothing(workplace: Path, exemplars: Exemplars):
    said = [[f'fires on "{colour}"'] for colour in COLOURS]
    folder = score(_options(exemplars, scored.descriptions(workplace / "d.parquet", said)))
    best = scored.table(folder, "best")
    assert len(best) == len(COLOURS)
    assert best["value"].min() >= 0.95
    assert best["null_other"].max() < 0.1
    assert best["null_lookup"].null_count() == 0
    assert best["null_empty"].null_count() == len(best), "an empty description predicts the same everywhere"
    rows = scored.table(folder, "scores").filter(split="test")
    assert set(rows.filter(kind="empty")["status"]) == {"constant"}
    others = rows.filter(kind="other").select("neuron", "description").rows()
    assert all(COLOURS[n] not in text for n, text in others)
    assert (folder / "figures/scores.png").stat().st_size > 5000

    table = scored.descriptions(workplace / "shuffled.parquet", said[1:] + said[:1])
    shuffled = scored.table(score(_options(exemplars, table, out=workplace / "shuffled")), "best")
    assert abs(shuffled["value"].mean()) < 0.1
    assert shuffled["high"].max() < 0.2


def test_every_feature_has_a_row_whatever_became_of_it(workplace: Path, exemplars: Exemplars):
    table = scored.descriptions(
        workplace / "d.parquet", [['fires on "red"'], [None, 'fires on "blue"'], [None, None], ['fires on "car"']]
    )
    rows = pl.read_parquet(table)
    silent = {"status": "silent", "description": None, "reason": None, "polarity": "-", "neuron": 3}
    pl.concat(
        [rows, rows[-1:].with_columns(**{k: pl.lit(v, rows.schema[k]) for k, v in silent.items()})]
    ).write_parquet(table)
    folder = score(_options(exemplars, table))
    found = scored.table(folder, "scores")
    told = {
        (neuron, polarity): (status, reason)
        for neuron, polarity, status, reason in found.filter(kind="candidate", split="test")
        .select("neuron", "polarity", "status", "reason")
        .rows()
    }
    assert told[0, "+"] == ("ok", None)
    assert told[1, "+"] == ("ok", None)
    assert told[2, "+"][0] == "missing"
    assert "HTTP 500" in told[2, "+"][1]
    assert told[3, "-"][0] == "silent"
    assert found.filter(neuron=1, kind="candidate")["candidate"].to_list() == [1, 1], "the one there is"
    assert set(scored.table(folder, "best")["neuron"]) == {0, 1, 3}
    assert found.filter(pl.col("value").is_null())["reason"].null_count() == 0


def test_a_description_that_a_person_wrote(workplace: Path, exemplars: Exemplars):
    asked = {"text": "anything red", "feature": "mlp_post.0.0+"}
    options = _options(exemplars, **asked)
    rows = scored.table(score(options), "scores")
    assert set(rows["neuron"]) == {0}
    value = rows.filter(kind="candidate", split="test")["value"].item()
    assert value > 0.95
    assert rows.filter(kind="other")["status"].item() == "missing", "there is nobody else's"
    table = scored.descriptions(workplace / "d.parquet", [["x"], ['fires on "car"']])
    beside = scored.table(score(_options(exemplars, table, out=workplace / "beside", **asked)), "scores")
    assert beside.filter(kind="other")["description"].item() == 'fires on "car"'
    assert beside.filter(kind="candidate", split="test")["value"].item() == value


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"text": "x", "feature": "mlp_post.0.99+"}, "has features 0 to 7"),
        ({"text": "x", "feature": "mlp_post.7.0+"}, "no mlp_post.7"),
        ({"text": "x", "feature": "3.4"}, "write SOURCE.LAYER.NEURON"),
    ],
)
def test_a_feature_that_is_not_there(workplace: Path, exemplars: Exemplars, asked: dict, says: str):
    with pytest.raises(UsageError, match=says):
        score(_options(exemplars, **asked))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"text": "x"}, "--text and --feature"),
        ({"feature": "mlp_post.0.0+"}, "--text and --feature"),
        ({"scorers": "intervention"}, "--model"),
        ({"scorers": "simulation,simulation"}, "once"),
        ({"scorers": "surprise"}, "simulation"),
    ],
)
def test_options_that_do_not_fit(asked: dict, says: str):
    with pytest.raises(UsageError, match=says):
        parse(ScoreOptions, asked)


def test_exemplars_of_another_model_are_refused_with_both_names(workplace: Path, exemplars: Exemplars):
    table = scored.descriptions(workplace / "d.parquet", [["x"]], model="llama")
    with pytest.raises(UsageError, match=r"(?s)llama.*made"):
        score(_options(exemplars, table))
    beyond = scored.descriptions(workplace / "beyond.parquet", [["x"]] * 9)
    with pytest.raises(DataError, match=r"row 8: mlp_post\.0\.8\+ is no feature"):
        score(_options(exemplars, beyond, out=workplace / "b"))
    with pytest.raises(UsageError, match="no such file"):
        score(_options(exemplars, workplace / "gone.parquet", out=workplace / "c"))


def _killed_at_the_third(options: ScoreOptions) -> None:
    whole, seen = bench.scored, []

    def scored(*given):
        seen.append(1)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*given)

    bench.scored, cases.GROUP = scored, 3
    score(options)


def test_a_killed_run_goes_on_to_the_same_bytes(processes, workplace: Path, exemplars: Exemplars, monkeypatch):
    said = [[f'fires on "{colour}"', f"the {colour} bird"] for colour in COLOURS]
    table = scored.descriptions(workplace / "d.parquet", said)
    monkeypatch.setattr("expgen.scoring.cases.GROUP", 3)
    calm = score(_options(exemplars, table, out=workplace / "calm"))
    options = _options(exemplars, table, out=workplace / "killed")
    process = processes.Process(target=_killed_at_the_third, args=(options,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    heard = []
    whole = bench.scored
    monkeypatch.setattr(bench, "scored", lambda *given: heard.append(1) or whole(*given))
    folder = score(options)
    assert len(heard) == 1, "two of three groups were done"
    for name in ("tables/scores.parquet", "tables/best.parquet", "figures/scores.png"):
        assert (folder / name).read_bytes() == (calm / name).read_bytes()


def test_a_draw_of_another_neuron_depends_on_nothing_else(workplace: Path, exemplars: Exemplars):
    """The same null description with and without other features beside it, and whatever else is asked."""
    table = scored.descriptions(workplace / "d.parquet", [[f"says {n}"] for n in range(8)])
    many = Cases.open(_options(exemplars, table))
    few = Cases.open(_options(exemplars, table, limit=2, draws=10))
    assert len(few.rows) == 2
    for number in range(8):
        drawn = many.nulls(neuron(number))["other"]
        assert drawn == few.nulls(neuron(number))["other"]
        assert drawn.description != f"says {number}"
    assert len({many.nulls(neuron(number))["other"].description for number in range(8)}) > 2
    assert many.nulls(neuron(0, "-"))["other"] is None


@pytest.mark.usefixtures("recorded")
def test_metrics_say_what_the_tables_say(workplace: Path, exemplars: Exemplars):
    import mlflow
    from runkit.state import State

    said = [[f'fires on "{colour}"'] for colour in COLOURS[:4]] + [['fires on "nothing"'], [None]]
    folder = score(_options(exemplars, scored.descriptions(workplace / "d.parquet", said)))
    told = mlflow.get_run(State.read(folder).run_id).data.metrics
    best = scored.table(folder, "best")
    assert told["features"] == 6
    assert told["described"] == len(best) == 5
    assert told["simulation_best_mean"] == pytest.approx(best["value"].drop_nulls().mean())
    assert told["simulation_other_median"] == pytest.approx(best["null_other"].drop_nulls().median())
    assert (told["simulation_missing"], told["simulation_constant"]) == (1, 1)
    assert told["simulation_above_other"] == pytest.approx(4 / 5)
    assert set(tables.columns(tables.Best)) == set(best.columns)
