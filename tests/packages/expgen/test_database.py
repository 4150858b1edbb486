"""The database holds what was found and said, answers by words, and has the same bytes for the same runs."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from expgen import database
from expgen.options import ReportOptions
from expgen.pages.evidence import Evidence
from runkit.errors import UsageError

from tests.packages.expgen import made, told

TEXTS = {
    "train": ["the red car", "a blue 🙂 bird sings", "red and red again", "no colour\0here, no red"],
    "valid": ["a red hat", "the blue sea", "nothing"],
    "test": ["red", "blue", "grey stones"],
}
WORDS = {0: "Words of a colour: red", 1: "the colour blue", 2: "anything"}


def silent(words: list[str]) -> list[float]:
    return [0.0] * len(words)


def say(row: told.Row) -> list[told.Row]:
    if not row["alive"]:
        return [{"status": "silent"}]
    if (row["neuron"], row["polarity"]) == (0, "-"):
        return [{"status": "error", "reason": "timed out"}]
    return [{"description": WORDS[row["neuron"]]}, {"description": f"some {WORDS[row['neuron']]}s"}]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, store: str) -> tuple[Path, Path, Path]:
    place = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store)
        exemplars = made.store(place / "ex", TEXTS, [made.on("red"), made.on("blue", negative=True), silent], layer=2)
        descriptions = told.described(place / "de", exemplars, say)
        scores = told.scored(place / "sc", exemplars, descriptions, lambda row: 0.9 if row["neuron"] == 0 else -0.1)
    return exemplars, descriptions, scores


@pytest.fixture
def base(runs: tuple[Path, Path, Path], workplace: Path) -> Iterator[sqlite3.Connection]:
    options = ReportOptions(exemplars=str(runs[0]), descriptions=str(runs[1]), scores=str(runs[2]))
    database.write(workplace / "a.sqlite", Evidence.read(options))
    with closing(sqlite3.connect(workplace / "a.sqlite")) as made_:
        yield made_


def test_words_find_neurons(base: sqlite3.Connection):
    query = """SELECT name, score, description FROM search JOIN best ON best.id = search.rowid
               WHERE search MATCH ? ORDER BY score DESC, id"""
    assert base.execute(query, ["words: colours"]).fetchall() == [
        ("mlp_post.2.0+", 0.9, WORDS[0]),
        ("mlp_post.2.1+", -0.1, WORDS[1]),
        ("mlp_post.2.1-", -0.1, WORDS[1]),
    ]
    fires = base.execute(query, ["fires: blue"]).fetchall()  # its peak tokens are searched too
    assert ("mlp_post.2.1-", -0.1, WORDS[1]) in fires
    assert all(name != "mlp_post.2.0+" for name, *_ in fires)


def test_exemplars_stand_on_their_texts(base: sqlite3.Connection):
    rows = base.execute("SELECT split, rank, text, token, strength FROM exemplars JOIN neurons ON id = neuron_id "
                        "WHERE name = 'mlp_post.2.1-' AND strength > 1 ORDER BY split").fetchall()  # fmt: skip
    assert rows == [("test", 0, "blue", "blue", 2.0), ("train", 0, "a blue 🙂 bird sings", " blue", 2.0),
                    ("valid", 0, "the blue sea", " blue", 2.0)]  # fmt: skip
    told_ = base.execute("SELECT text, token FROM exemplars JOIN neurons ON id = neuron_id "
                         "WHERE name = 'mlp_post.2.0+' AND split = 'train' AND rank = 2").fetchall()  # fmt: skip
    assert told_ == [("no colour\ufffdhere, no red", " red")]  # what SQLite would cut off at is replaced


def test_everything_is_there_and_nothing_is_made_up(base: sqlite3.Connection):
    told_ = base.execute("SELECT text, status, reason, chosen, score FROM descriptions JOIN neurons ON id = neuron_id "
                         "WHERE name = ? ORDER BY candidate", ["mlp_post.2.0+"]).fetchall()  # fmt: skip
    assert told_ == [(WORDS[0], "ok", None, 1, 0.9), (f"some {WORDS[0]}s", "ok", None, 0, None)]
    assert base.execute("SELECT description, score FROM best WHERE name = 'mlp_post.2.0-'").fetchall() == [(None, None)]
    missing = base.execute("SELECT name, status, reason FROM descriptions JOIN neurons ON id = neuron_id "
                           "WHERE status != 'ok'").fetchall()  # fmt: skip
    assert missing == [("mlp_post.2.0-", "error", "timed out"), ("mlp_post.2.2+", "silent", None),
                       ("mlp_post.2.2-", "silent", None)]  # fmt: skip
    assert base.execute("SELECT name, alive, peak FROM best WHERE neuron = 2").fetchall() == [
        ("mlp_post.2.2+", 0, None), ("mlp_post.2.2-", 0, None)]  # fmt: skip
    assert base.execute("SELECT value FROM about WHERE name = 'model'").fetchall() == [("made",)]
    assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_without_scores_the_first_is_chosen(runs: tuple[Path, Path, Path], workplace: Path):
    options = ReportOptions(exemplars=str(runs[0]), descriptions=str(runs[1]))
    database.write(workplace / "b.sqlite", Evidence.read(options))
    with closing(sqlite3.connect(workplace / "b.sqlite")) as base:
        rows = base.execute("SELECT name, description, score FROM best WHERE description IS NOT NULL").fetchall()
    assert rows == [("mlp_post.2.0+", WORDS[0], None), ("mlp_post.2.1+", WORDS[1], None),
                    ("mlp_post.2.1-", WORDS[1], None)]  # fmt: skip


def test_the_same_runs_give_the_same_bytes(base: sqlite3.Connection, runs: tuple[Path, Path, Path], workplace: Path):
    options = ReportOptions(exemplars=str(runs[0]), descriptions=str(runs[1]), scores=str(runs[2]))
    database.write(workplace / "b.sqlite", Evidence.read(options))
    assert (workplace / "b.sqlite").read_bytes() == (workplace / "a.sqlite").read_bytes()
    assert sorted(path.name for path in workplace.glob("*.sqlite*")) == ["a.sqlite", "b.sqlite"]


def test_runs_that_do_not_belong_together_are_refused(runs: tuple[Path, Path, Path], workplace: Path):
    exemplars, descriptions, scores = runs
    with pytest.raises(UsageError, match="name the run of describe that was scored"):
        Evidence.read(ReportOptions(exemplars=str(exemplars), scores=str(scores)))
    other = made.store(workplace / "other", TEXTS, [made.on("red")], model="another")
    with pytest.raises(UsageError, match=r"--descriptions .*de is of 'made', but --exemplars .*other of 'another'"):
        Evidence.read(ReportOptions(exemplars=str(other), descriptions=str(descriptions)))
    fewer = made.store(workplace / "fewer", TEXTS, [made.on("red")], layer=2)
    with pytest.raises(UsageError, match=r"tells of mlp_post\.2\.1\+, which --exemplars .*fewer does not hold"):
        Evidence.read(ReportOptions(exemplars=str(fewer), descriptions=str(descriptions)))
    unlike = told.described(workplace / "unlike", exemplars, lambda row: [{"description": "another"}])
    with pytest.raises(UsageError, match="'Words of a colour: red'"):
        Evidence.read(ReportOptions(exemplars=str(exemplars), descriptions=str(unlike), scores=str(scores)))


def test_a_run_of_another_stage_is_refused(runs: tuple[Path, Path, Path]):
    with pytest.raises(UsageError, match=r"--descriptions .*ex is a run of expgen\.exemplars"):
        Evidence.read(ReportOptions(exemplars=str(runs[0]), descriptions=str(runs[0])))
