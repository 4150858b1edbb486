"""The hard test put to a server over real HTTP: answered from the text alone, counted as said, never paid twice."""

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import polars as pl
import pytest
import runkit
from grokked_reasoning import tables
from grokked_reasoning.cli import app
from grokked_reasoning.llm_baseline import llm_baseline
from grokked_reasoning.options import EvaluateOptions, LlmBaselineOptions
from llmkit import BudgetSpent
from runkit.errors import UsageError
from runkit.tables import columns
from typer.testing import CliRunner

from tests.packages.grokked_reasoning import hard_world
from tests.shared.llmkit.server import PASSING, UNUSABLE, FaultyServer, always, seeded

pytestmark = pytest.mark.usefixtures("hurried", "workplace")


def told(folder: Path, url: str, **more: Any) -> LlmBaselineOptions:
    data = folder / "data"
    if not data.exists():
        hard_world.write(data)
    given = {"data": str(data), "model": "parrot", "base_url": url, "key_variable": "none", "timeout": 2.0,
             "out": folder / "run"}  # fmt: skip
    return LlmBaselineOptions(**{**given, **more})


def hard_rows(folder: Path) -> list[dict[str, str]]:
    return json.loads((folder / "data" / "test.json").read_text())


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


@pytest.mark.parametrize("answer", ["direct", "cot"])
@pytest.mark.parametrize("context", ["full", "retrieval"])
def test_who_reasons_from_the_text_gets_all_of_it_right(workplace: Path, context: str, answer: str):
    with FaultyServer(hard_world.truthful) as server:
        options = told(workplace, server.url, context=context, answer=answer)
        folder = llm_baseline(options)
        answers = table(folder, "answers")
        rows = hard_rows(workplace)
        assert len(answers) == len(rows) == server.calls > 10
        assert set(answers["outcome"]) == {"correct"}
        labels = [int(row["target_text"][-6]) for row in rows]
        assert answers["gold"].to_list() == [hard_world.WORDS[label] for label in labels]
        assert set(answers["gold"]) == set(hard_world.WORDS)
        known = [len(found[0]) + len(found[1]) for found in
                 (hard_world.facts(body["messages"][0]["content"]) for body in server.bodies)]  # fmt: skip
        assert sorted(known) == sorted(answers["facts"].to_list())
        assert {hard_world.people(body) for body in server.bodies} == set(
            answers.select("first_name", "second_name").iter_rows()
        )
        here = table(folder, "comparison").filter(kind="this run").row(0, named=True)
        assert (here["correct"], here["n"], here["context"], here["answer"]) == (1.0, len(rows), context, answer)
        lines = [json.loads(line) for line in (folder / "exchanges.jsonl").read_text().splitlines()]
        assert [line["key"] for line in lines] == [f"hard/{i:04d}" for i in range(len(rows))]

        again = llm_baseline(options.model_copy(update={"out": workplace / "again"}))
        assert server.calls == len(rows), "a fresh run beside it asks nothing anew"
        assert table(again, "answers").equals(answers)


def test_the_full_context_is_every_training_fact_of_the_attribute_and_no_other(workplace: Path):
    with FaultyServer(hard_world.truthful) as server:
        llm_baseline(told(workplace, server.url, context="full"))
    train = json.loads((workplace / "data" / "train.json").read_text())
    names: dict[str, set[str]] = {}
    for body in server.bodies:
        ages, pairs = hard_world.facts(body["messages"][0]["content"])
        rows = [sum(f"<attr_{a}>" in row["input_text"] for row in train) for a in range(2)]
        assert len(ages) + len(pairs) in rows
        assert body["messages"][0]["content"].count(".\n") == len(ages) + len(pairs)  # the instructions end in one
        for a in range(2):
            values = sorted(int(row["target_text"][-6]) for row in train
                            if row["type"] == "id_atomic" and f"<attr_{a}>" in row["input_text"])  # fmt: skip
            if sorted(ages.values()) == values:
                names.setdefault(str(a), set()).update(ages)
    assert len(names) == 2
    assert not names["0"] & names["1"], "each attribute has people of its own"


def test_words_of_every_kind_are_counted_as_what_they_are(workplace: Path):
    """One answer for all: right for one label, or for none."""
    for said, outcomes in {
        "Younger.": {"younger": "correct", "same age": "wrong", "older": "wrong"},
        "I cannot decide": dict.fromkeys(hard_world.WORDS, "cannot decide"),
        "older or younger": dict.fromkeys(hard_world.WORDS, "invalid"),
    }.items():
        with FaultyServer(lambda body, said=said: json.dumps({"reply": said})) as server:
            folder = llm_baseline(told(workplace, server.url, model=said[:4].strip(), out=workplace / said[:3]))
        answers = table(folder, "answers")
        assert dict(answers.select("gold", "outcome").iter_rows()) == outcomes
        row = table(folder, "comparison").filter(kind="this run").row(0, named=True)
        right = (answers["outcome"] == "correct").mean()
        assert row["correct"] == pytest.approx(right)
        assert row["correct_low"] <= right <= row["correct_high"]
        assert sum(row[name] for name in ("correct", "wrong", "cannot_decide", "invalid")) == pytest.approx(1)


def test_a_reply_that_is_not_in_the_form_is_read_by_its_words(workplace: Path, capsys: pytest.CaptureFixture[str]):
    with FaultyServer(lambda body: "They are older.") as server:
        folder = llm_baseline(told(workplace, server.url))
    answers = table(folder, "answers")
    assert set(answers["status"]) == {"invalid"}
    assert set(answers["said"]) == {"older"}
    assert "did not keep to the JSON form" in capsys.readouterr().err


def test_faults_lose_and_invent_nothing(workplace: Path):
    passing = tuple(fault for fault in PASSING if fault != "hang")
    with FaultyServer(hard_world.truthful, plan=seeded(0.3, (*passing, *UNUSABLE), seed=3)) as server:
        folder = llm_baseline(told(workplace, server.url))
        answers = table(folder, "answers")
        assert server.calls > 1.2 * len(answers), "faults were committed"
    assert len(answers) == len(hard_rows(workplace))
    assert set(answers.filter(status="ok")["outcome"]) == {"correct"}
    assert len(answers.filter(status="ok")) > 0.7 * len(answers)
    assert not set(answers["outcome"]) & {"wrong", "cannot decide"}


def test_what_was_not_answered_is_in_no_share(workplace: Path, capsys: pytest.CaptureFixture[str]):
    """A request that the server does not take is an error, not an answer."""
    with FaultyServer(hard_world.truthful, plan=lambda prompt, n: "413" if "younger than" in prompt[-400:] and
                      crc32(prompt[-60:].encode()) % 3 == 0 else None) as server:  # fmt: skip
        folder = llm_baseline(told(workplace, server.url))
    answers = table(folder, "answers")
    failed = answers.filter(outcome="error")
    assert 0 < len(failed) < len(answers)
    assert failed["said"].null_count() == len(failed)
    assert all(failed["error"].str.len_chars())
    row = table(folder, "comparison").filter(kind="this run").row(0, named=True)
    assert (row["n"], row["correct"]) == (len(answers) - len(failed), 1.0)
    assert "--fresh asks them again" in capsys.readouterr().err


def test_the_budget_is_kept_to_the_call_and_the_same_command_goes_on(workplace: Path):
    with FaultyServer(hard_world.truthful) as server:
        options = told(workplace, server.url, max_calls=5)
        with pytest.raises(BudgetSpent, match="5 of"):
            llm_baseline(options)
        assert server.calls == 5
        folder = llm_baseline(options.model_copy(update={"max_calls": None}))
        assert max(server.asked.values()) == 1
        calm = llm_baseline(told(workplace, server.url, out=workplace / "calm" / "run"))
    for name in ("answers", "comparison"):
        assert table(folder, name).equals(table(calm, name))


def test_a_dry_run_asks_and_writes_nothing(workplace: Path, capsys: pytest.CaptureFixture[str]):
    with FaultyServer(hard_world.truthful) as server:
        options = told(workplace, server.url, dry_run=True, limit=7)
        before = sorted(workplace.rglob("*"))
        assert llm_baseline(options) is None
        assert sorted(workplace.rglob("*")) == before
        assert server.calls == 0
        assert "7 questions" in (said := capsys.readouterr().out)
        folder = llm_baseline(options.model_copy(update={"dry_run": False}))
        assert f": {server.calls} requests" in said
        capsys.readouterr()
        llm_baseline(options)
        assert ": 0 requests" in capsys.readouterr().out
    drawn = table(folder, "answers")["row"].to_list()
    assert len(drawn) == 7
    assert drawn != list(range(7)), "drawn, not the first ones: the test is sorted by label"


def test_killed_it_asks_only_the_rest(processes, workplace: Path):
    """SIGKILL in the middle: at most what was under way is asked again, and the tables are those of a calm run."""
    with FaultyServer(hard_world.truthful, delay=0.05) as server:
        options = told(workplace, server.url, concurrency=2)
        process = processes.Process(target=llm_baseline, args=(options,))
        process.start()
        while process.is_alive() and server.calls < 8:
            process.join(0.01)
        process.kill()
        process.join()
        before = server.calls
        assert 8 <= before < len(hard_rows(workplace))
        assert not (options.out / "manifest.json").exists()
        folder = llm_baseline(options.model_copy(update={"timeout": 120.0}))
        twice = [prompt for prompt, times in server.asked.items() if times > 1]
        assert len(twice) <= 2, "what was answered is not asked again"
        assert len(server.asked) == len(hard_rows(workplace))
        calm = llm_baseline(told(workplace, server.url, out=workplace / "calm" / "run"))
    assert table(folder, "answers").equals(table(calm, "answers"))
    lines = [json.loads(line) for line in (folder / "exchanges.jsonl").read_text().splitlines()]
    assert len({line["key"] for line in lines}) == len(hard_rows(workplace)), "the killed run's exchanges are kept"


def test_a_local_model_is_asked_in_process(workplace: Path):
    """Random weights: words of no meaning, each of which is counted, and none of which counts as an error."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = ["?", "older", "younger", "same", "age", "the", "is"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(workplace / "model")
    config = GPT2Config(
        vocab_size=len(words), n_positions=2048, n_embd=16, n_layer=1, n_head=2, bos_token_id=None, eos_token_id=None
    )
    GPT2LMHeadModel(config).save_pretrained(workplace / "model")
    options = told(workplace, "http://127.0.0.1:9", model=f"local:{workplace / 'model'}", limit=3, max_new_tokens=4)
    answers = table(llm_baseline(options), "answers")
    assert len(answers) == 3
    assert set(answers["status"]) == {"invalid"}
    assert all(answers["text"].str.len_chars())
    assert "error" not in set(answers["outcome"])


def test_a_grokked_model_stands_beside_it(workplace: Path):
    with FaultyServer(hard_world.truthful) as server:
        options = told(workplace, server.url, limit=2)
        n = len(hard_rows(workplace))
        place = evaluated(workplace / "evaluated", workplace / "data", [(100, 0.5), (900, (n - 1) / n)], n)
        folder = llm_baseline(options.model_copy(update={"grokked": str(place)}))
        row = table(folder, "comparison").filter(kind="grokked model").row(0, named=True)
        assert (row["system"], row["n"]) == ("evaluated, step 900", n)
        assert row["correct"] == pytest.approx((n - 1) / n)

        other = evaluated(workplace / "other", hard_world.write(workplace / "else", seed=1), [(900, 1.0)], n)
        with pytest.raises(UsageError, match=r"--grokked .*other/evaluated was evaluated on .*else"):
            llm_baseline(options.model_copy(update={"grokked": str(other), "out": workplace / "refused"}))


def evaluated(folder: Path, data: Path, hard: list[tuple[int, float]], n: int) -> Path:
    """A run of `evaluate` with these accuracies on the hard test, by step."""
    (folder / "model").mkdir(parents=True)
    options = EvaluateOptions(checkpoints=str(folder / "model"), data=str(data), out=folder / "evaluated")
    rows = [{"step": step, "type": "test_hard", "n": n, "accuracy": share, "exact": None, "nll": 0.1}
            for step, share in hard]  # fmt: skip
    with runkit.stage("grokked-reasoning.evaluate", options) as run:
        run.table("accuracy", pl.DataFrame(rows, columns(tables.Accuracy)), tables.Accuracy)
    return folder / "evaluated"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda data: hard_world.write(data, task="comparison"), ["world of comparison", "--task complex-reasoning"]),
        (lambda data: _edit(data, "test", lambda rows: [{**row, "type": "x"} for row in rows]), ["no rows of type"]),
        (lambda data: _edit(data, "train", _break_third), ["train.json", "row 3", "not of the form"]),
        (lambda data: (hard_world.write(data) / "train.json").unlink(), ["train.json is missing"]),
    ],
    ids=["task", "no-hard", "row", "missing"],
)
def test_bad_data_is_named(workplace: Path, make: Any, words: list[str]):
    make(workplace / "data")
    result = CliRunner().invoke(
        app, ["llm-baseline", "--data", "data", "--model", "m", "--base-url", "http://127.0.0.1:9"]
    )
    output = " ".join(result.output.split())
    assert result.exit_code in (1, 2)
    assert "Traceback" not in output
    for word in words:
        assert word in output


def test_no_key_asks_nothing(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HARD_KEY", raising=False)
    with FaultyServer(hard_world.truthful, plan=always("500")) as server:
        told(workplace, server.url)
        result = CliRunner().invoke(app, ["llm-baseline", "--data", "data", "--model", "m", "--base-url", server.url,
                                          "--key-variable", "HARD_KEY"])  # fmt: skip
        assert server.calls == 0
    assert result.exit_code != 0
    assert "HARD_KEY" in result.output


def _edit(data: Path, name: str, change: Any) -> None:
    path = hard_world.write(data) / f"{name}.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def _break_third(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    rows[3] = {**rows[3], "input_text": "<q><e_0>", "target_text": "<q><e_0><a><1></a>"}
    return rows
