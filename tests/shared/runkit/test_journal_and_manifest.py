"""Files are whole or absent, and damage anywhere is found and named."""

import math
import os
import random
from contextlib import suppress
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
import runkit
from hypothesis import given
from hypothesis import strategies as st
from runkit import files, journal, tables
from runkit.errors import DataError
from runkit.journal import Journal
from runkit.manifest import Manifest
from runkit.options import Options
from typer.testing import CliRunner


class Numbers(pa.DataFrameModel):
    number: int


def make_run(out: Path) -> Path:
    with runkit.stage("toy.numbers", Options(out=out, seed=3)) as run:
        run.table("numbers", pl.DataFrame({"number": list(range(50))}), Numbers)
        files.write_bytes(run.folder / "weights" / "a.bin", random.Random(0).randbytes(3000))
        run.artifact("weights")
    return out


# Atomic writing


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with suppress(ZeroDivisionError), files.atomic(path) as temporary:
        temporary.write_text("half of the ne")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda path, to: (order.append("rename"), replace(path, to)))
    files.write_bytes(tmp_path / "a", b"x")
    assert order == ["fsync", "rename", "fsync"]


def test_what_killed_writes_left_is_removed_and_nothing_else(tmp_path: Path):
    for name in ("a.parquet.tmp.123", "deep/b.tmp.9", ".tmpv4WGzt", "notes.tmp.txt", "c.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files.remove_stale(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["c.tmp", "notes.tmp.txt"]


# Journal


def test_every_torn_tail_is_cut_and_the_rest_kept(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    for step in range(3):
        log = Journal(path)
        log.append("metrics", step=step, values={"loss": 0.5})
        log.close()
    whole = path.read_bytes()
    start_of_last = whole[:-1].rfind(b"\n") + 1
    for cut in range(start_of_last, len(whole)):
        path.write_bytes(whole[:cut])
        log = Journal(path)
        log.append("metrics", step=9, values={})
        log.close()
        assert [event["step"] for event, _ in journal.read(path)] == [0, 1, 9]


def test_a_tail_of_zeros_after_a_power_cut_is_cut(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    log = Journal(path)
    log.append("log", message="one")
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 100 + b"\n")
    Journal(path).close()
    assert path.read_bytes() == whole


def test_any_flipped_bit_of_a_journal_is_found(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    log = Journal(path)
    for step in range(5):
        log.append("metrics", step=step, values={"loss": 1 / (step + 1)})
    log.close()
    whole = path.read_bytes()
    chance = random.Random(1)
    inside = whole[:-1].rfind(b"\n")  # damage of the last line is a torn tail
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[chance.randrange(inside)] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"journal\.jsonl: the line at byte \d+ is damaged"):
            journal.read(path)


plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)


@given(st.dictionaries(st.text(max_size=9), plain, max_size=5))
def test_a_sealed_line_gives_back_what_was_sealed(values: dict[str, object]):
    record = {"event": "x", "values": values}
    line = journal.seal(record)
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    assert journal.unseal(line[:-1]) == record


def test_numbers_that_json_does_not_know_come_back(tmp_path: Path):
    log = Journal(tmp_path / "j")
    log.append("metrics", step=1, values={"a": math.nan, "b": -math.inf})
    ((event, _),) = journal.read(tmp_path / "j")
    assert math.isnan(float(event["values"]["a"]))
    assert float(event["values"]["b"]) == -math.inf


# Manifest


def test_each_of_200_flipped_bits_is_found_and_its_file_named(here: Path):
    folder = make_run(here / "out")
    names = ["tables/numbers.parquet", "tables_preview/numbers.json", "weights/a.bin", "manifest.json"]
    chance = random.Random(2)
    for turn in range(200):
        name = names[turn % len(names)]
        whole = (folder / name).read_bytes()
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged) - 1)] ^= 1 << chance.randrange(8)
        (folder / name).write_bytes(damaged)
        with pytest.raises(DataError) as caught, runkit.stage("toy.numbers", Options(out=folder, seed=3)):
            pass
        assert name in str(caught.value)
        assert "--fresh" in str(caught.value)
        (folder / name).write_bytes(whole)


def test_a_damaged_table_says_what_was_expected_what_was_found_and_how_to_mend_it(here: Path):
    folder = make_run(here / "out")
    path = folder / "tables" / "numbers.parquet"
    expected = files.digest(path)
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    with pytest.raises(DataError) as caught:
        tables.read(path, Numbers)
    message = str(caught.value)
    for part in ("tables/numbers.parquet", expected, files.digest(path)):
        assert part in message
    assert message.endswith(f"rebuild it with: toy numbers --seed 3 --out {folder} --fresh")


def test_a_missing_file_is_found(here: Path):
    folder = make_run(here / "out")
    (folder / "weights" / "a.bin").unlink()
    done = CliRunner().invoke(runkit_command(), ["verify", str(folder)])
    assert done.exit_code == 1
    assert "weights/a.bin: missing (expected 3000 bytes" in done.stderr


def test_verify_tells_intact_unfinished_and_foreign_folders_apart(here: Path):
    folder = make_run(here / "out")
    done = CliRunner().invoke(runkit_command(), ["verify", str(folder)])
    assert (done.exit_code, "3 files of toy.numbers are intact" in done.stdout) == (0, True)
    (folder / "manifest.json").unlink()
    done = CliRunner().invoke(runkit_command(), ["verify", str(folder)])
    assert (done.exit_code, "has not finished" in done.stderr) == (2, True)
    done = CliRunner().invoke(runkit_command(), ["verify", str(here)])
    assert (done.exit_code, "is no folder of a run" in done.stderr) == (2, True)


def test_a_table_of_an_unfinished_run_is_not_read(here: Path):
    folder = make_run(here / "out")
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match="has not finished"):
        tables.read(folder / "tables" / "numbers.parquet", Numbers)


def test_the_manifest_lists_every_registered_file_with_its_size(here: Path):
    folder = make_run(here / "out")
    manifest = Manifest.read(folder)
    assert manifest is not None
    sizes = {name: entry.size for name, entry in manifest.files.items()}
    assert sizes == {name: (folder / name).stat().st_size for name in sizes}
    assert set(sizes) == {"tables/numbers.parquet", "tables_preview/numbers.json", "weights/a.bin"}


# Secrets


def test_planted_secrets_are_in_no_file(here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setenv("HF_TOKEN", "hf_planted_one")
    monkeypatch.setenv("OPENAI_API_KEY", 'sk-"planted"-two')
    monkeypatch.setenv("DB_PASSWORD", "planted-three")
    monkeypatch.setenv("MAX_TOKENS", "512512512")

    class Leaky(Options):
        api_key: str = ""
        server: str = ""
        max_new_tokens: int = 0

    options = Leaky(out=here / "o", api_key="planted-four", server="http://x/?k=hf_planted_one", max_new_tokens=77)
    with pytest.raises(ValueError, match="planted"):
        leak(options)
    written = b"".join(path.read_bytes() for path in (here / "o").rglob("*") if path.is_file())
    for secret in (b"hf_planted_one", b"sk-", b"planted-three", b"planted-four", b"me:planted"):
        assert secret not in written
    assert b"[OPENAI_API_KEY]" in written
    assert b'"max_new_tokens":"77"' in written
    assert "planted-three" not in capfd.readouterr().err


def leak(options: Options) -> None:
    with runkit.stage("toy.leaky", options) as run:
        run.tags({"url": 'https://me:planted@host/ sk-"planted"-two'})
        run.log("key is planted-three")
        run.input("data", "s3://planted-three@bucket", "0")
        raise ValueError(f"no luck with {os.environ['OPENAI_API_KEY']} and {os.environ['HF_TOKEN']}")


def runkit_command():
    from runkit.commands import app

    return app
