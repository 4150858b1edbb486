"""A run that is killed, at any point, and started again ends with the same bytes as one that was left alone."""

import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest
import runkit
from runkit import files, journal
from runkit.claim import Claim
from runkit.errors import DataError, UsageError
from runkit.options import Options

KEPT = ("manifest.json", "report.html", "tables/counted.parquet", "tables_preview/counted.json")


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in KEPT}


def only_run(here: Path) -> Path:
    (folder,) = (here / "runs").iterdir()
    return folder


# Real processes


def test_random_kills_change_no_byte(toy: Any, tmp_path_factory: pytest.TempPathFactory):
    """SIGKILL, 25 times at most, at seeded random moments of the process's life."""
    chance = random.Random(20)
    nursery = toy.nursery(pieces=150, nap=0.005)
    assert nursery.live(toy.folder) == 0
    disturbed = tmp_path_factory.mktemp("disturbed")
    (disturbed / "data.jsonl").write_text('{"question": "one"}\n')

    kills = 0
    while kills < 25 and nursery.live(disturbed, seconds=chance.uniform(0.01, 0.25)) == -signal.SIGKILL:
        kills += 1
    assert kills >= 10
    assert nursery.live(disturbed) == 0

    folder = only_run(disturbed)
    assert contents(folder) == contents(only_run(toy.folder))
    assert {path.name for path in files.files_below(folder)} == {*(Path(name).name for name in KEPT), "journal.jsonl"}
    events = [event for event, _ in journal.read(folder / "journal.jsonl")]
    points = [event["step"] for event in events if event["event"] == "metrics" and event["step"] is not None]
    assert sorted(points) == list(range(150))


def test_interrupted_before_its_first_word_it_can_be_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C while the run is being opened: the journal's first line says whose it is, so nothing is said before it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REASONSCOPE_MLFLOW", "off")

    def interrupt(claim: Claim) -> dict[str, Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Claim, "start", interrupt)
        with pytest.raises(KeyboardInterrupt), runkit.stage("toy.word", runkit.Options()):
            pass
        patch.setattr(Claim, "start", lambda claim: 1 / 0)
        with pytest.raises(ZeroDivisionError), runkit.stage("toy.word", runkit.Options()):
            pass
    with runkit.stage("toy.word", runkit.Options()) as run:
        assert not run.finished
    first = (run.folder / "journal.jsonl").read_text().splitlines()[0]
    assert '"event":"start"' in first


# Death at every single write


class Counted(pa.DataFrameModel):
    number: int
    third: float


class Killed(BaseException):
    pass


class Reaper:
    """After `lives` calls that change the disk, the process is as good as dead: the last is torn, no other happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.dead = 10**9, False
        for owner, name in ((os, "write"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "write_bytes")):
            monkeypatch.setattr(owner, name, self._mortal(getattr(owner, name)))

    def _mortal(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                if not self.dead and len(args) > 1 and isinstance(args[1], bytes):
                    call(args[0], args[1][: len(args[1]) // 2])
                self.dead = True
                raise Killed
            return call(*args, **kwargs)

        return mortal


def small_stage(options: Options) -> None:
    with runkit.stage("toy.small", options) as run:
        if run.finished:
            return
        parts = run.parts("counted")
        for number, _ in parts.missing((number, None) for number in range(3)):
            parts.write(number, pl.DataFrame({"number": [number], "third": [number / 3]}))
        run.metrics({"loss": 0.5}, step=1)
        run.table("counted", parts.collect(), Counted)
        files.write_bytes(run.folder / "report.html", b"<p>done</p>")
        run.artifact("report.html")


def test_death_at_every_write_leaves_nothing_wrong(here: Path, monkeypatch: pytest.MonkeyPatch):
    small_stage(Options(out=here / "undisturbed"))
    expected = contents(here / "undisturbed")
    with monkeypatch.context() as patch:
        reaper = Reaper(patch)
        small_stage(Options(out=here / "counting"))
        writes = 10**9 - reaper.left
    assert writes > 30
    for lives in range(writes):
        out = here / f"killed-{lives}"
        with monkeypatch.context() as patch:
            reaper = Reaper(patch)
            reaper.left = lives
            with pytest.raises(Killed):
                small_stage(Options(out=out))
        small_stage(Options(out=out))
        assert contents(out) == expected, f"killed at write {lives}"
        assert not list(out.rglob("*.tmp.*"))


# What resuming trusts


def half_done(out: Path) -> None:
    with suppress(ZeroDivisionError), runkit.stage("toy.half", Options(out=out)) as run:
        parts = run.parts("counted")
        for number, _ in parts.missing((number, None) for number in range(5)):
            parts.write(number, pl.DataFrame({"number": [number]}))
        raise ZeroDivisionError


def missing_after(out: Path) -> list[int]:
    with runkit.stage("toy.half", Options(out=out)) as run:
        return [key for key, _ in run.parts("counted").missing((number, None) for number in range(5))]


def test_damaged_pieces_are_made_again_and_named(here: Path, capsys: pytest.CaptureFixture[str]):
    out = here / "out"
    half_done(out)
    pieces = sorted((out / "parts" / "counted").glob("*.parquet"))
    flipped = bytearray(pieces[1].read_bytes())
    flipped[40] ^= 1
    pieces[1].write_bytes(flipped)
    pieces[3].unlink()
    pieces[4].write_bytes(pieces[4].read_bytes()[:-7])
    assert missing_after(out) == [1, 3, 4]
    assert "pieces 1, 3, 4 are damaged or gone" in capsys.readouterr().err


def test_damage_in_the_ledger_costs_only_work(here: Path):
    out = here / "out"
    half_done(out)
    ledger = out / "parts" / "counted" / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"key":2', b'"key":4')
    ledger.write_bytes(b"".join(lines))
    assert missing_after(out) == [2]


def test_pieces_are_collected_in_key_order_whatever_the_order_of_work(here: Path):
    tables: list[bytes] = []
    for order in ([0, 1, 2, 10], [10, 2, 0, 1]):
        with runkit.stage("toy.order", Options(out=here / f"o{order[0]}")) as run:
            parts = run.parts("counted")
            for key in order:
                parts.write(key, pl.DataFrame({"number": [key], "third": [key / 3]}))
            assert parts.collect()["number"].to_list() == [0, 1, 2, 10]
            tables.append(run.table("counted", parts.collect(), Counted).read_bytes())
    assert tables[0] == tables[1]


def test_string_keys_may_hold_anything(here: Path):
    keys = ["b/../c", "a b", "a_b", "ü" * 80, ""]
    with runkit.stage("toy.keys", Options(out=here / "o")) as run:
        parts = run.parts("counted")
        for key in keys:
            parts.write(key, pl.DataFrame({"key": [key]}))
        assert parts.collect()["key"].to_list() == sorted(keys)
        assert list(parts.missing((key, None) for key in [*keys, "new"])) == [("new", None)]


def test_no_piece_at_all_is_an_error(here: Path):
    with pytest.raises(DataError, match="not one piece"), runkit.stage("toy.none", Options(out=here / "o")) as run:
        run.parts("counted").collect()


# Which folder, and whose


def test_the_same_command_again_reuses_what_is_intact(toy: Any):
    args = ("--data", "data.jsonl", "--pieces", "3")
    first, before = toy.call(*args), contents(only_run(toy.folder))
    again = toy.call(*args)
    assert again.exit_code == 0
    assert "its files are intact: reused" in again.stderr
    assert "worked" not in again.stderr
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    fresh = toy.call(*args, "--fresh")
    assert "worked" in fresh.stderr
    assert contents(only_run(toy.folder)) == before


def test_other_options_or_data_are_another_run(here: Path):
    for options in (Options(), Options(seed=1), Options(run_name="same as the first", debug=True)):
        with runkit.stage("toy.id", options):
            pass
    assert len(list((here / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("stage", "options", "told"),
    [("toy.other", {}, "stage toy.own"), ("toy.own", {"seed": 5}, "--seed 0 there, 5 here")],
)
def test_a_folder_that_belongs_to_another_run_is_refused(here: Path, stage: str, options: dict[str, int], told: str):
    with runkit.stage("toy.own", Options(out=here / "o")):
        pass
    with pytest.raises(UsageError, match=told) as caught, runkit.stage(stage, Options(out=here / "o", **options)):
        pass
    assert "--fresh to replace it" in str(caught.value)
    with runkit.stage(stage, Options(out=here / "o", resume=False, **options)) as run:
        assert not run.finished


def test_a_run_that_failed_before_it_did_anything_gives_way(here: Path):
    with pytest.raises(ZeroDivisionError), runkit.stage("toy.own", Options(out=here / "o")):
        raise ZeroDivisionError
    with runkit.stage("toy.own", Options(out=here / "o", seed=5)) as run:
        assert not run.finished
    with pytest.raises(UsageError, match="belongs to another run"), runkit.stage("toy.own", Options(out=here / "o")):
        pass


def test_changed_input_is_told(here: Path):
    options = runkit.DataOptions(data="data.jsonl", out=here / "o")
    with runkit.stage("toy.own", options):
        pass
    (here / "data.jsonl").write_text('{"question": "two"}\n')
    with pytest.raises(UsageError, match="the content of --data has changed"), runkit.stage("toy.own", options):
        pass


@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_that_is_no_run_is_never_touched(here: Path, resume: bool):
    (here / "thesis").mkdir()
    (here / "thesis" / "chapter.tex").write_text("years of work")
    with (
        pytest.raises(UsageError, match=r"holds 'chapter\.tex'"),
        runkit.stage("toy.own", Options(out=here / "thesis", resume=resume)),
    ):
        pass
    assert (here / "thesis" / "chapter.tex").read_text() == "years of work"


def test_a_finished_run_takes_no_more_writes(here: Path):
    with runkit.stage("toy.own", Options(out=here / "o")):
        pass
    with runkit.stage("toy.own", Options(out=here / "o")) as run:
        for write in (lambda: run.artifact("journal.jsonl"), lambda: run.parts("x"), lambda: run.figure("f", None)):
            with pytest.raises(RuntimeError, match="returns early"):
                write()
