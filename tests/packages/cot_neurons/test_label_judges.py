"""Labels from a language model over real HTTP: what it said and nothing else, whatever the server does."""

import json
from pathlib import Path

import mlflow
import polars as pl
import pytest
from cot_neurons.label import label
from llmkit import BudgetSpent
from llmkit.endpoint import MissingKeyError
from runkit.state import State
from sklearn.metrics import cohen_kappa_score

from tests.packages.cot_neurons import label_judge as judge
from tests.packages.cot_neurons import label_subjects as subjects
from tests.shared.llmkit.server import PASSING, UNUSABLE, FaultyServer, always, seeded

pytestmark = pytest.mark.usefixtures("hurried")

KEY = ["layer", "neuron", "polarity"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return subjects.save(tmp_path_factory.mktemp("model") / "planted", background=0.1)


def _table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


def _said(folder: Path) -> dict[tuple[int, int, str], set[str]]:
    """Concepts by neuron, as the table of labels has them."""
    rows = _table(folder, "labels").group_by(KEY).agg("concept").iter_rows()
    return {tuple(key): set(concepts) for *key, concepts in rows}


@pytest.mark.usefixtures("recorded")
def test_a_verdict_for_every_candidate_and_labels_as_planted(workplace: Path, model: Path):
    with FaultyServer(judge.truthful) as server:
        options = judge.options(workplace, model, server.url)
        folder = label(options)
        verdicts, controls = _table(folder, "verdicts"), _table(folder, "controls")
        scores = _table(folder, "scores").filter(~pl.col("decoy") & (pl.col("score") >= options.min_score))
        assert set(verdicts.select(KEY).iter_rows()) == set(scores.select(KEY).iter_rows())
        assert set(_table(folder, "labels").select(*KEY, "concept").iter_rows()) == subjects.true_labels()
        assert set(verdicts["status"]) == {"labelled", "none"}
        counts = {row["control"]: (row["asked"], row["labelled"]) for row in controls.iter_rows(named=True)}
        assert counts["concepts"] == (len(verdicts), len(subjects.PLANTED))
        extra = counts["decoys"][0] + counts["shuffled"][0]
        assert 0 < extra <= len(verdicts) / 10
        assert server.calls == len(verdicts) + extra, "one call per neuron"
        assert counts["shuffled"][1] == 0

        asked = server.bodies[0]
        assert "decoy" not in json.dumps(asked)
        assert asked["response_format"]["type"] == "json_schema"
        lines = [json.loads(line) for line in (folder / "exchanges.jsonl").read_text().splitlines()]
        assert len(lines) == server.calls
        assert lines == sorted(lines, key=lambda line: line["key"])

        run_id = State.read(folder).run_id
        place = mlflow.get_run(run_id).info.experiment_id
        traces = mlflow.search_traces(run_id=run_id, locations=[place], return_type="list", max_results=500)
        assert len(traces) == server.calls, "each call is a trace of the run"
        assert any("as planted" in json.dumps(trace.data.response) for trace in traces)

        fresh = label(options.model_copy(update={"out": workplace / "again"}))
        assert server.calls == len(verdicts) + extra, "a fresh run beside it asks nothing anew"
        assert _table(fresh, "labels").equals(_table(folder, "labels"))


def test_thirty_percent_faults_lose_and_invent_nothing(workplace: Path, model: Path):
    """Every neuron ends with what the server truly said of it, or without a verdict."""
    passing = tuple(fault for fault in PASSING if fault != "hang")
    with FaultyServer(judge.truthful, plan=seeded(0.3, (*passing, *UNUSABLE), seed=5)) as server:
        folder = label(judge.options(workplace, model, server.url))
        verdicts = _table(folder, "verdicts")
        truth = subjects.true_labels()
        seen = dict.fromkeys(("labelled", "none", "invalid", "error"), 0)
        for row in verdicts.iter_rows(named=True):
            seen[row["status"]] += 1
            key = (row["layer"], row["neuron"], row["polarity"])
            if row["status"] in ("labelled", "none"):
                assert set(row["concepts"]) == {concept for *known, concept in truth if tuple(known) == key}
                assert row["confidence"] == 0.75
            else:
                assert row["concepts"] == []
                assert row["confidence"] is None
                assert row["rationale"], "says what went wrong"
        assert sum(seen.values()) == len(verdicts)
        assert seen["labelled"] >= 5
        assert seen["invalid"] > 0, "the plan has neurons whose two answers are both unusable"
        assert server.calls > len(verdicts) * 1.2, "faults were committed"


def test_a_concept_that_is_not_in_the_registry_is_no_verdict(workplace: Path, model: Path):
    with FaultyServer(lambda body: judge.verdict(["exponentiation"])) as server:
        verdicts = _table(label(judge.options(workplace, model, server.url)), "verdicts")
    assert set(verdicts["status"]) == {"invalid"}
    assert all("concepts" in each for each in verdicts["rationale"])
    assert max(server.asked.values()) == 1
    assert len(server.asked) >= 2 * len(verdicts), "each was asked once more, with the fault named"


def test_nonsense_is_invalid_and_an_empty_table_of_labels_is_a_result(workplace: Path, model: Path):
    with FaultyServer(judge.truthful, plan=always("malformed")) as server:
        folder = label(judge.options(workplace, model, server.url))
    assert set(_table(folder, "verdicts")["status"]) == {"invalid"}
    assert _table(folder, "labels").is_empty()
    rates = _table(folder, "controls")
    assert rates["asked"].sum() == 0, "what was not answered is not counted as answered"
    assert rates["rate"].null_count() == 3


def test_the_budget_is_kept_to_the_call_and_the_same_command_goes_on(workplace: Path, model: Path):
    with FaultyServer(judge.truthful) as server:
        nothing = judge.options(workplace, model, server.url, max_calls=0)
        with pytest.raises(BudgetSpent, match="0 of"):
            label(nothing)
        assert server.calls == 0
        with pytest.raises(BudgetSpent, match="10 of"):
            label(nothing.model_copy(update={"max_calls": 10}))
        assert server.calls == 10
        folder = label(nothing.model_copy(update={"max_calls": None}))
        assert max(server.asked.values()) == 1, "nothing was asked twice"
        undisturbed = label(judge.options(workplace, model, server.url, out=workplace / "calm" / "run"))
    for name in ("verdicts", "labels", "controls"):
        assert _table(folder, name).equals(_table(undisturbed, name))


def test_a_dry_run_asks_and_writes_nothing(workplace: Path, model: Path, capsys: pytest.CaptureFixture[str]):
    with FaultyServer(judge.truthful) as server:
        options = judge.options(workplace, model, server.url, dry_run=True, second_judge="rules")
        before = sorted(workplace.rglob("*"))
        assert label(options) is None
        assert sorted(workplace.rglob("*")) == before
        assert server.calls == 0
        said = capsys.readouterr().out
        label(options.model_copy(update={"dry_run": False}))
        assert f": {server.calls} requests" in said, "as many as were then sent"
        assert "rules" in said
        label(options)
        assert ": 0 requests" in capsys.readouterr().out


def test_no_key(workplace: Path, model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with FaultyServer(judge.truthful) as server:
        options = judge.options(workplace, model, server.url, key_variable="JUDGE_KEY")
        with pytest.raises(MissingKeyError, match="JUDGE_KEY"):
            label(options)
        assert server.calls == 0
        monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
        label(options)
        assert set(server.keys) == {"Bearer sk-very-secret"}
    for file in workplace.rglob("*"):
        assert not file.is_file() or b"very-secret" not in file.read_bytes()


def test_two_judges_agree_as_kappa_says(workplace: Path, model: Path):
    """A second judge that is generous with one concept; kappa against scikit-learn."""

    def generous(body: dict) -> str:
        if body["model"] == "parrot":
            return judge.truthful(body)
        said = json.loads(judge.truthful(body))["concepts"]
        return judge.verdict({*said, *(["add"] if "plus" in " ".join(judge.tokens(body)[:8]) else [])} - {"formula"})

    with FaultyServer(generous) as server:
        folder = label(judge.options(workplace, model, server.url, second_judge="magpie"))
    verdicts, agreement = _table(folder, "verdicts"), _table(folder, "agreement")
    parrot, magpie = (verdicts.filter(judge=name).sort(KEY)["concepts"].to_list() for name in ("parrot", "magpie"))
    assert len(parrot) == len(magpie)
    for row in agreement.iter_rows(named=True):
        ours, theirs = ([row["concept"] in each for each in said] for said in (parrot, magpie))
        assert row["both"] == sum(a and b for a, b in zip(ours, theirs, strict=True))
        assert row["only_other"] == sum(b and not a for a, b in zip(ours, theirs, strict=True))
        if row["concept"] == "formula":
            assert row["kappa"] is None, "the second judge says the same of all"
        else:
            assert row["kappa"] == pytest.approx(cohen_kappa_score(ours, theirs))
    kappas = dict(agreement.select("concept", "kappa").iter_rows())
    assert 0 < kappas["add"] < 1
    assert kappas["equals_to"] == 1
    assert set(_table(folder, "labels")["judge"]) == {"parrot", "magpie"}
    assert set(_table(folder, "controls")["judge"]) == {"parrot", "magpie"}


def test_without_a_candidate_nobody_is_asked(workplace: Path, model: Path):
    with FaultyServer(judge.truthful) as server:
        options = judge.options(workplace, model, server.url, second_judge="rules")
        table = Path(options.neurons)
        plain = [{"layer": plant.layer, "neuron": plant.neuron} for plant in subjects.OTHERS]
        rows = pl.read_parquet(table)
        rows.filter(pl.struct("layer", "neuron").is_in(plain)).write_parquet(table)
        folder = label(options.model_copy(update={"min_score": 0.9}))
        assert server.calls == 0
    for name in ("verdicts", "labels"):
        assert _table(folder, name).is_empty()
    assert _table(folder, "agreement")["kappa"].null_count() == 7
    assert set(_table(folder, "controls")["judge"]) == {"parrot", "rules"}


def test_a_local_model_judges(workplace: Path, model: Path):
    """A model without any sense for the task: every neuron ends without a verdict, none with an invented one."""
    options = judge.options(workplace, model, "http://127.0.0.1:9", judge=f"local:{model}", min_score=0.9)
    verdicts = _table(label(options), "verdicts")
    assert len(verdicts) >= len(subjects.PLANTED)
    assert set(verdicts["status"]) <= {"invalid", "error"}
