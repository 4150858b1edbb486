"""Folders that cannot be written: the message names them and says what to do, and nothing is left half-made."""

import os
from pathlib import Path

import pytest

from tests.faults.commands import Command
from tests.faults.smalldisk import SmallDisk


def _sealed(folder: Path, refused: Path) -> None:
    """From now on the folder cannot be written; where that cannot be had, the reason is in the file."""
    inside = Path.cwd() == folder
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    try:
        disk = SmallDisk(folder, 1 << 26)
    except OSError as error:
        refused.write_text(str(error))
        return
    for path, content in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    disk.seal()
    if inside:
        os.chdir(folder)  # what was here before lies under the new disk


class _Seal:
    """As `fault` of a `Command`."""

    def __init__(self, folder: Path, refused: Path) -> None:
        self.folder, self.refused = folder, refused

    def __call__(self) -> None:
        _sealed(self.folder, self.refused)


def _sealed_off(refused: Path) -> None:
    if refused.exists():
        pytest.skip(f"no folder that root cannot write: {refused.read_text()}")


def test_a_working_folder_that_cannot_be_written(processes, tmp_path: Path, figures):
    place = tmp_path / "place"
    ended = Command(processes, "expgen", place, _Seal(place, tmp_path / "refused")).ended()
    _sealed_off(tmp_path / "refused")
    assert ended.code == 2, ended.said
    assert f"error: {place}/runs/pipelines.expgen-" in ended.said
    assert f"cannot be written (Read-only file system: {place}/runs" in ended.said
    assert "--out a folder that can be, or start in another working folder" in ended.said
    figures(
        "Read-only folder", "the working folder", tried="the `expgen` pipeline in it",
        held="exit 2 and a message that names the folder",
    )  # fmt: skip


def test_an_out_folder_that_cannot_be_written(processes, tmp_path: Path, figures):
    place, out = tmp_path / "place", tmp_path / "sealed"
    out.mkdir()
    more = ("--out", str(out / "run"))
    ended = Command(processes, "expgen", place, _Seal(out, tmp_path / "refused"), more=more).ended()
    _sealed_off(tmp_path / "refused")
    assert ended.code == 2, ended.said
    assert f"{out}/run cannot be written (Read-only file system" in ended.said
    assert not (place / "runs").exists()
    figures(
        "Read-only folder", "`--out`", tried="the `expgen` pipeline with it",
        held="exit 2 and a message that names the folder; nothing half-made",
    )  # fmt: skip


def test_a_file_where_the_folder_should_be(processes, tmp_path: Path):
    (tmp_path / "taken").write_text("mine")
    ended = Command(processes, "expgen", tmp_path / "place", more=("--out", str(tmp_path / "taken"))).ended()
    assert ended.code == 2, ended.said
    assert f"{tmp_path}/taken cannot be written" in ended.said
    assert (tmp_path / "taken").read_text() == "mine"
    assert not (tmp_path / "place" / "runs").exists()
