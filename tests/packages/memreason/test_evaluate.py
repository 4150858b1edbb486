"""The stage as a whole: what it writes, what it compares with, what it refuses, and that an interruption shows not."""

import re
from pathlib import Path

import polars as pl
import pytest
from memreason import tables
from memreason.data import Data
from memreason.evaluate import evaluate
from memreason.options import EvaluateOptions, SteerOptions
from memreason.questions import Questions, chosen
from memreason.steer import steer
from runkit import journal
from runkit.errors import UsageError

from tests.packages.memreason import made, toy_student

pytestmark = pytest.mark.usefixtures("workplace")


def _options(**given: object) -> EvaluateOptions:
    return EvaluateOptions.model_validate({"data": "data", "model": "student", "max_new_tokens": 24, **given})


def _steering(**given: object) -> SteerOptions:
    return SteerOptions.model_validate({"data": "data", "model": "student", "max_new_tokens": 8, **given})


def _read(folder: Path, name: str = "answers") -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


def _metrics(folder: Path) -> dict[str, float]:
    events = [event for event in journal.intact(folder / "journal.jsonl") if event["event"] == "metrics"]
    return {name: value for event in events for name, value in event["values"].items()}


@pytest.mark.usefixtures("drawn")
def test_every_question_is_asked_once_and_told_in_order(workplace: Path):
    made.traces(workplace / "data")
    made.student(workplace / "student")
    folder = evaluate(_options(splits="test,dev", batch_size=4, out=workplace / "free"))
    answers = _read(folder)
    assert answers["id"].to_list() == [item.id for item in [*made.items("test"), *made.items("dev")]]
    metrics = _metrics(folder)
    assert metrics["accuracy"] == answers["correct"].mean()
    assert metrics["test/invalid"] == (answers.filter(split="test")["status"] == "invalid").mean()
    assert (folder / "figures" / "accuracy.png").stat().st_size > 5_000
    assert not (folder / "tables" / "checked.parquet").exists()
    # Under the grammar the untrained student writes whole blocks; against itself nothing differs.
    held = evaluate(_options(splits="test,dev", grammar=True, against=str(folder), out=workplace / "held"))
    formed = _read(held)["formed"].explode().drop_nulls()
    assert formed.all()
    assert len(formed) > 30
    assert metrics["well_formed"] == 0
    pairs = tables.Pairs.validate(_read(held, "pairs"))
    assert pairs.select("a", "b", "split").rows() == [("held", "free", split) for split in ("test", "dev", "all")]
    assert pairs["accuracy_b"][2] == metrics["accuracy"]
    with pytest.raises(UsageError, match=r"--against free .* --against free alone was asked dev-Paris-Rome"):
        evaluate(_options(splits="test", against="free", out=workplace / "other"))
    with pytest.raises(UsageError, match=r"split tset: .* did you mean 'test'"):
        evaluate(_options(splits="tset", out=workplace / "none"))
    with pytest.raises(UsageError, match=r"run of memreason\.train, not of memreason.evaluate"):
        evaluate(_options(against="student", out=workplace / "wrong"))


def test_a_model_as_it_is_answers_too_and_prompts_without_room_are_counted(workplace: Path, capsys):
    item = made.items()[0]
    long = item._replace(id="endless", trace=item.trace._replace(question="are Paris and " * 100))
    made.traces(workplace / "data", [item, long])
    made.base(workplace / "base")
    folder = evaluate(_options(model="base", out=workplace / "run"))
    short, endless = _read(folder).to_dicts()
    assert (short["arm"], short["kinds"], short["block_tokens"]) == ("none", [""] * len(short["texts"]), 0)
    assert (endless["finish"], endless["status"], endless["new_ids"]) == ("context", "invalid", [])
    shown = capsys.readouterr()
    assert "1 of 2 prompts leave no room in the context of 256 tokens (first: endless)" in shown.err
    assert _metrics(folder)["questions"] == 2
    assert _metrics(folder)["unwritable"] == 0
    for line in (r"invalid +2 of 2", r"well_formed +0 of 2", r"cut off by the context +1 of 2"):
        assert re.search(line, shown.out), line


def test_questions_that_the_tokenizer_cannot_write_are_told(workplace: Path, capsys: pytest.CaptureFixture[str]):
    first, second, *_ = made.items()
    odd = first._replace(id="odd", trace=first.trace._replace(question="are Oslo and Rome in one country"))
    made.traces(workplace / "data", [second, odd])
    made.student(workplace / "student")
    told = "1 of 2 questions have words that the tokenizer cannot write (the first: odd): they are asked with <unk> in"
    for stage, asked in ((evaluate, _options), (steer, _steering)):
        folder = stage(asked(out=workplace / stage.__name__))
        assert told in capsys.readouterr().err
        assert _metrics(folder)["unwritable"] == 1


def test_a_model_that_cannot_end_is_refused(workplace: Path):
    made.traces(workplace / "data")
    made.base(workplace / "base")
    words = made.tokenizer()
    words.eos_token = None
    words.save_pretrained(workplace / "base")
    with pytest.raises(UsageError, match="no end-of-text token"):
        evaluate(_options(model="base", out=workplace / "run"))


def test_draws_depend_on_seed_and_question_alone(workplace: Path):
    made.traces(workplace / "data")
    made.student(workplace / "student")
    drawn = {"temperature": 1.0, "top_p": 0.9}
    first = evaluate(_options(**drawn, out=workplace / "a", batch_size=3))
    again = evaluate(_options(**drawn, out=workplace / "b", batch_size=8))
    other = evaluate(_options(**drawn, out=workplace / "c", batch_size=3, seed=1))
    assert _read(first).drop("logprob").equals(_read(again).drop("logprob"))
    assert _read(first)["new_ids"].to_list() != _read(other)["new_ids"].to_list()


def test_a_toy_world_is_checked(workplace: Path):
    toy = toy_student.world(workplace / "data")
    toy_student.student(workplace / "student", toy)
    folder = evaluate(_options(splits="test,removed", grammar=True, limit=10, out=workplace / "run"))
    answers, checked = _read(folder), tables.Checked.validate(_read(folder, "checked"))
    assert answers["split"].value_counts(sort=True)["count"].max() <= 10
    assert len(checked) == answers["kinds"].list.len().sum()
    assert checked["kind"].to_list() == answers["kinds"].explode().drop_nulls().to_list()
    assert checked["text"].to_list() == answers["texts"].explode().drop_nulls().to_list()
    metrics = _metrics(folder)
    assert metrics["memory_recall"] == metrics["test/memory_recall"] == 0, "noise states no fact"
    assert metrics["label_accuracy"] == 0


def test_an_interrupted_run_ends_with_the_same_bytes(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    made.traces(workplace / "data")
    made.student(workplace / "student")
    calm = evaluate(_options(batch_size=4, grammar=True, out=workplace / "calm"))
    ask, asked = Questions.ask, []

    def failing(self: Questions, *args: object) -> pl.DataFrame:
        asked.append(args)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ask(self, *args)

    monkeypatch.setattr(Questions, "ask", failing)
    with pytest.raises(KeyboardInterrupt):
        evaluate(_options(batch_size=4, grammar=True, out=workplace / "rough"))
    rough = evaluate(_options(batch_size=4, grammar=True, out=workplace / "rough"))
    assert len(asked) == 3 + 2, "of four batches two were kept"
    for name in ("tables/answers.parquet", "figures/accuracy.png"):
        assert (calm / name).read_bytes() == (rough / name).read_bytes(), name
    assert _metrics(calm) == _metrics(rough)


def test_a_limit_is_spread_over_each_split(workplace: Path):
    data = Data.open(str(made.traces(workplace / "data")))
    ids = [item.id for item in chosen(data, _options(splits="test,dev", limit=4))]
    everyone = [item.id for item in made.items("test")]
    assert ids[:4] == [everyone[i] for i in (0, 3, 7, 11)]
    assert len(ids) == 8
    assert len(chosen(data, _options(splits="test,test", limit=100))) == len(everyone)
