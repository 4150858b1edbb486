"""Pipelines killed with SIGKILL at 50 random moments, then started again until done: the same bytes in every file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from runkit import journal

from tests.faults import pipelines
from tests.faults.killing import killed, names_below, undisturbed
from tests.faults.pipelines import EVERY

KILLS = 50
MOST = 15  # runs that kills must have come in; the demo has too many short ones for half of them
WITHOUT_TIMES = {".lock", "journal.jsonl"}
"""Files of a run that say when and by whom something was done; of all others the bytes are compared."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", EVERY)
def test_kills_leave_no_trace(name: str, processes, calm, figures: Callable[..., None], tmp_path: Path):
    place, lasts = calm(name)

    def begin() -> None:
        undisturbed(processes.Process(target=pipelines.prepare, args=(name, place)))

    def again() -> None:
        """Paths are in the bytes: so each run is made in the same place, and moved out of the way of the next."""
        place.replace(tmp_path / f"rough{len(list(tmp_path.iterdir()))}")
        begin()

    def process():
        return processes.Process(target=pipelines.run, args=(name, place))

    assert len(list(place.glob("runs/*"))) == EVERY[name].runs
    expected, starts = _bytes(place), undisturbed(process())
    parts = [{f"{each.name}/{path}" for path in names_below(each)} for each in place.glob("runs/*")]
    place.replace(tmp_path / "calm")
    begin()
    reached = partial(names_below, place / "runs")
    killed(process, reached, again, times=KILLS, parts=parts, lasts=lasts, starts=starts, seed=len(name))
    place.replace(tmp_path / "rough")
    (tmp_path / "calm").replace(place)

    places = list(tmp_path.glob("rough*"))
    for each in places:
        found = _bytes(each)
        assert found.keys() ^ expected.keys() == set()
        assert [path for path in expected if found[path] != expected[path]] == []
    stages = {stage for each in places for stage in _killed_in(each)}
    least = min(EVERY[name].runs // 2, MOST)
    assert len(stages) >= least, f"kills came in {sorted(stages)} alone: the test would prove little"
    figures(
        "SIGKILL at random moments",
        f"pipeline `{name}`",
        tried=f"{KILLS} kills, in {least} of its {EVERY[name].runs} runs at least",
        held=f"{KILLS} of {KILLS} went on; every table, model, figure and page is an undisturbed run's, byte for byte",
    )


def _bytes(place: Path) -> dict[str, bytes]:
    files = [path for path in sorted(place.glob("runs/**/*")) if path.is_file() and path.name not in WITHOUT_TIMES]
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def _killed_in(place: Path) -> list[str]:
    """Names of the runs that were begun more than once."""
    begun = {path.parent.name: journal.intact(path) for path in place.glob("runs/*/journal.jsonl")}
    return [
        name
        for name, events in begun.items()
        if sum(event["event"] == "status" and event["status"] == "RUNNING" for event in events) > 1
    ]
