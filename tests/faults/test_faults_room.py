"""Pipelines for which there is not enough room: in memory, batches get smaller; on the disk, one starts again later."""

import json
import os
import random
import re
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
import torch
from polars.testing import assert_frame_equal
from torch import nn

from tests.faults.commands import OFF, Command, argv
from tests.faults.pipelines import PIPELINES
from tests.faults.smalldisk import SmallDisk

MOST = {"cot-neurons": 3, "grokking": 2, "memreason": 2, "expgen": 3}
"""Rows that fit into memory."""
ERRORS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
)


def _tight(most: int, seed: int) -> None:
    """From now on more rows than that fit into no forward pass of inference: it ends somewhere on its way."""
    dice = random.Random(seed)
    left = dice.randint(1, 20)

    def watch(_module: nn.Module, given: tuple[Any, ...]) -> None:
        nonlocal left
        if not torch.is_grad_enabled() and any(
            isinstance(x, torch.Tensor) and x.ndim == 3 and len(x) > most for x in given
        ):
            left -= 1
            if not left:
                left = dice.randint(1, 20)
                raise dice.choice(ERRORS)

    nn.modules.module.register_module_forward_pre_hook(watch)


_HASH = r"-[0-9a-f]{10}\b"
"""In the name of a run's folder: it comes of the place where all is done."""


def _bare(name: str) -> str:
    return re.sub(_HASH, "", name)


def _tables(place: Path) -> list[tuple[str, str, pl.DataFrame]]:
    """Stage, name and content of every table, in the order in which the stages were begun."""
    runs = sorted(place.glob("runs/*"), key=lambda run: json.loads((run / "journal.jsonl").open().readline())["time"])
    return [
        (_bare(run.name), path.name, pl.read_parquet(path).with_columns(cs.string().str.replace_all(_HASH, "")))
        for run in runs
        if not run.name.startswith("pipelines.")  # their tables name folders, which come of what is in them
        for path in sorted(run.glob("tables/*.parquet"))
    ]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_batches_that_do_not_fit_into_memory_are_halved(processes, calm, tmp_path: Path, figures, pipeline: str):
    ended = Command(processes, pipeline, tmp_path / "tight", partial(_tight, MOST[pipeline], 7)).ended()
    assert ended.code == 0, ended.said[-3000:]
    halved = ended.said.count("out of memory with")
    assert halved >= 3, ended.said
    expected, found = _tables(calm(pipeline).place), _tables(tmp_path / "tight")
    assert found
    assert [each[:2] for each in found] == [each[:2] for each in expected]
    for (stage, name, ours), (_, _, theirs) in zip(found, expected, strict=True):
        try:
            # A z is a difference, which may be all but 0, by a deviation that may be, too: rounding shows in it.
            loose, strict = (
                [each.select(cs.by_name("z", require_all=False)) for each in (ours, theirs)],
                cs.exclude("z"),
            )
            assert_frame_equal(*loose, check_exact=False, rel_tol=1e-2, abs_tol=1e-4)
            assert_frame_equal(
                ours.select(strict), theirs.select(strict), check_exact=False, rel_tol=1e-5, abs_tol=1e-5
            )
        except AssertionError as error:
            raise AssertionError(f"{stage}: {name}") from error
    figures(
        "Out of memory at a batch", f"`{pipeline}` pipeline",
        tried=f"whatever looks at a model finds room for {MOST[pipeline]} rows; batches fail somewhere on their way",
        held="batches are halved; all tables equal those of an undisturbed run, to 1e-5 (z: 1e-2 or, near 0, 1e-4)",
    )  # fmt: skip


SIZES = 3


def _on_small_disks(pipeline: str, place: Path, full: int, seed: int, kept: Path) -> None:
    """The command on disks of random sizes, each larger than the one before, and at last on one that is large enough.

    They are laid over `place`, which only this process sees. What each command said goes to files in `kept`, and so do
    its runs in the end.
    """
    os.environ.update(OFF)
    try:
        disk = SmallDisk(place, 1 << 28)
    except OSError as error:
        (kept / "refused").write_text(str(error))
        return
    os.chdir(place)
    PIPELINES[pipeline].shrink()
    PIPELINES[pipeline].prepare()
    inputs, dice = _used(place), random.Random(seed)
    sizes = sorted(inputs + int(dice.uniform(0.02, 0.9) * (full - inputs)) for _ in range(SIZES))
    for number, size in enumerate([*sizes, 1 << 28]):
        disk.resize(max(size, _used(place)))
        code = _command(pipeline, kept / f"said-{number}")
        (kept / f"code-{number}").write_text(str(code))
    shutil.copytree(place / "runs", kept / "runs")


def _command(pipeline: str, said: Path) -> int:
    """`reasonscope PIPELINE` here and now; its exit code."""
    from reasonscope.cli import main

    sys.argv = ["reasonscope", *argv(pipeline)]
    with said.open("w") as stream, redirect_stdout(stream), redirect_stderr(stream):
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def _used(place: Path) -> int:
    """Bytes on a disk, in whole pages."""
    return sum(-(-path.lstat().st_size // 4096) * 4096 for path in place.rglob("*") if path.is_file())


def _results(place: Path) -> dict[str, bytes]:
    """Tables, weights, figures and pages of all runs."""
    kinds = {".parquet", ".safetensors", ".png", ".html"}
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.suffix in kinds}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_full_disk_is_told_and_the_command_goes_on(processes, calm, tmp_path: Path, figures, pipeline: str):
    undisturbed = calm(pipeline).place
    kept = tmp_path / "kept"
    kept.mkdir()
    # In the same place, for what a run is comes of the paths it is given.
    asked = (pipeline, undisturbed, _used(undisturbed), 5, kept)
    process = processes.Process(target=_on_small_disks, args=asked)
    process.start()
    process.join()
    assert process.exitcode == 0
    if (kept / "refused").exists():
        pytest.skip(f"no disk of its own for a test: {(kept / 'refused').read_text()}")
    codes = [int((kept / f"code-{number}").read_text()) for number in range(SIZES + 1)]
    said = [(kept / f"said-{number}").read_text() for number in range(SIZES + 1)]
    assert codes[-1] == 0, said[-1][-3000:]
    failed = [told for code, told in zip(codes, said, strict=True) if code]
    assert len(failed) >= 2
    for told in failed:
        assert re.search(r"error: .*(the disk is full|on disk; .* are free)", told), told[-3000:]
        assert "Traceback" not in told, told[-3000:]
    expected, found = _results(undisturbed / "runs"), _results(kept / "runs")
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    figures(
        "Disk full", f"`{pipeline}` pipeline", tried=f"{SIZES} disks, each larger than the one before",
        held="exit 1 and a message that says so; on a disk with room the command goes on to identical files",
    )  # fmt: skip
