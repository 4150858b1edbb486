"""The stages of a pipeline: run as children of its run, counted aloud, kept on its record."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandera.polars as pa
import polars as pl
import runkit
from runkit import files, runs
from runkit.errors import ReasonscopeError
from runkit.page.markup import Markup
from runkit.tables import Table

from reasonscope.crew import Call, side_by_side

PAGE = "report.html"
O = TypeVar("O", bound=runkit.Options)  # noqa: E741 - options


class Stages(Table):
    """One row per stage of a pipeline, in the order in which they were asked for. `run`: its folder."""

    number: int = pa.Field(ge=1, unique=True)
    stage: str
    run: str


class Steps:
    """Runs the stages of the pipeline `run`; says which of how many it is at (`total`: as far as is known at first)."""

    def __init__(self, run: runkit.StageRun, total: int) -> None:
        self._run, self._total = run, total
        self._done: list[tuple[str, Path]] = []

    def __call__(self, stage: Callable[[O], Path | None], options: O) -> Path:
        """Run a stage; its folder."""
        return self.together([(stage, options)], 1)[0]

    def together(self, calls: Sequence[Call], at_once: int) -> list[Path]:
        """Run stages that do not need each other, so many at a time; their folders, in the order of the calls."""
        names = [_name(stage) for stage, _ in calls]
        first, last = len(self._done) + 1, len(self._done) + len(calls)
        self._total = max(self._total, last)
        which = f"{first}" if first == last else f"{first} to {last}"
        self._run.log(f"{self._run.stage}: {which} of {self._total}: {', '.join(dict.fromkeys(names))}")
        folders = [_made(name, folder) for name, folder in zip(names, side_by_side(calls, at_once), strict=True)]
        self._done += zip(names, folders, strict=True)
        return folders

    def conclude(self, page: Path | str, headline: Mapping[str, float], pictures: Sequence[Path] = ()) -> Path:
        """Put on the pipeline's own record what it comes to; its folder.

        Args:
            page: its summary: the folder of a run of `report`, or the text itself.
            headline: numbers by which pipelines are compared.
            pictures: figures of its stages that show it best.
        """
        run = self._run
        text = (page / PAGE).read_bytes() if isinstance(page, Path) else page.encode()
        files.write_bytes(run.folder / PAGE, text)
        run.artifact(PAGE)
        for each in pictures:
            files.write_bytes(run.folder / "figures" / each.name, each.read_bytes())
            run.artifact(f"figures/{each.name}")
        run.table("stages", self._table(), Stages)
        run.metrics(headline)
        run.summary({**headline, "page": shown(run.folder / PAGE)})
        return run.folder

    def _table(self) -> pl.DataFrame:
        rows = [(number, name, shown(folder)) for number, (name, folder) in enumerate(self._done, 1)]
        return pl.DataFrame(rows, schema={"number": pl.Int64, "stage": pl.String, "run": pl.String}, orient="row")


def intact(pipeline: Path) -> Path:
    """The folder of a pipeline that was done before, after a look at the runs of its stages, those of theirs included.

    One that was removed since is not missed: what it came to stands on the page.

    Raises:
        DataError: a file of one of them is damaged; names it, and the command that makes it again.
    """
    for each in map(Path, runs.table(pipeline, "stages", Stages)["run"]):
        if each.is_dir():
            runs.verify(each)
            if (each / "tables" / "stages.parquet").is_file():
                intact(each)
    return pipeline


def run_of(pipeline: Path, stage: str) -> list[Path]:
    """The runs of a stage that a finished pipeline made, from the working folder it was started in."""
    table = runs.table(pipeline, "stages", Stages)
    return [Path(each) for each in table.filter(stage=stage)["run"]]


def findings(pipeline: Path) -> list[Markup]:
    """The findings at the top of a finished pipeline's page, a sentence each."""
    text = (pipeline / PAGE).read_text("utf-8")
    short = re.search(r'<ul class="short">(.*?)</ul>', text, re.DOTALL)
    return [Markup(each) for each in re.findall(r"<li>(.*?)</li>", short[1], re.DOTALL)] if short else []


def found(folder: Path, *names: str) -> dict[str, float]:
    """Results of a finished stage, those of these names that it has."""
    results = runs.results(folder)
    return {name: results[name] for name in names if name in results}


def _name(stage: Callable[..., Any]) -> str:
    room = stage.__module__.partition(".")[0].replace("_", "-")
    package = "pipelines" if room == "reasonscope" else room
    return f"{package}.{stage.__name__.strip('_').replace('_', '-')}"


def _made(name: str, folder: Path | None) -> Path:
    if folder is None:
        raise ReasonscopeError(f"{name} has left no run: start pipelines as one process, not by a launcher")
    return folder


def shown(folder: Path) -> str:
    """The folder as seen from the working folder: the same on every machine."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
