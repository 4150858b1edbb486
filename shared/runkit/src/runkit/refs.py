"""From what a user writes to a place.

A path, `run:ID`, `runs:/ID/ARTIFACT`, `models:/NAME/VERSION`, `latest`, `specimen:NAME`, or a hub id.
"""

import re
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from runkit import stored, tracking
from runkit.errors import UsageError, nearest
from runkit.manifest import NAME as MANIFEST
from runkit.manifest import Manifest
from runkit.state import State

SPECIMENS = "reasonscope.specimens"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")
_FILE_NAME = re.compile(r".*\.[a-z]{2,12}")  # `Llama-3.1-8B` is no file name, `test.jsnl` is


def resolve(text: str | Path, *, stage: str | None = None, artifact: str | None = None) -> Path:
    """The existing file or folder that `text` names.

    Args:
        stage: for `latest`, the stage (`package.command`) whose newest finished run is meant.
        artifact: a file of the run (`tables/items.parquet`), looked up where `text` names a run or a folder.

    Raises:
        UsageError: nothing of that name; the nearest names are given.
    """
    place = locate(text, stage=stage, artifact=artifact)
    if isinstance(place, Path):
        return place
    raise UsageError(_missing(Path(text)))


def locate(text: str | Path, *, stage: str | None = None, artifact: str | None = None) -> Path | str:
    """Like `resolve`; a text that names nothing here but could be a hub id is returned as it is."""
    text = str(text)
    if not text:
        raise UsageError("an empty path: no such file or folder")
    if text == "latest":
        return _inside(_latest(stage), artifact)
    if text.startswith("specimen:"):
        return _inside(_specimen(text.removeprefix("specimen:")), artifact)
    if text.startswith("runs:/"):
        run, _, name = text.removeprefix("runs:/").partition("/")
        return _run(run, name or artifact)
    if text.startswith("run:"):
        return _run(text.removeprefix("run:"), artifact)
    if text.startswith("models:/"):
        return _inside(stored.model(text), artifact)
    path = Path(text).expanduser()
    if path.exists():
        return _inside(path, artifact)
    if _is_hub_id(text):
        return text
    raise UsageError(_missing(path))


def _is_hub_id(text: str) -> bool:
    """An id has at most one slash, and neither its first part nor its ending say that a local file is meant."""
    return (
        _HUB_ID.fullmatch(text) is not None
        and not text.startswith(".")
        and not _FILE_NAME.fullmatch(text)
        and not ("/" in text and Path(text).parent.is_dir())
    )


def _inside(path: Path, artifact: str | None) -> Path:
    if artifact is None or path.is_file():
        return path
    if (path / artifact).exists():
        return path / artifact
    raise UsageError(_missing(path / artifact))


def _missing(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"{path}: no such file or folder (nor is there a folder {parent})"
    return f"{path}: no such file or folder; {nearest(path.name, [each.name for each in parent.iterdir()])}"


def _specimen(name: str) -> Path:
    found = {each.name: each for each in entry_points(group=SPECIMENS)}
    if name not in found:
        raise UsageError(f"specimen:{name}: no such specimen; {nearest(name, found)}")
    function: Callable[[], Path] = found[name].load()
    return function()


def _run(run: str, artifact: str | None) -> Path:
    for folder in _local_runs():
        if run in (folder.name, State.read(folder).run_id):
            return _inside(folder, artifact)
    return _from_store(run, artifact)


def _local_runs() -> list[Path]:
    return sorted(path.parent for path in Path("runs").glob("*/journal.jsonl"))


def _latest(stage: str | None) -> Path:
    if stage is None:
        raise UsageError("latest: it is not clear of which stage; give a path or run:ID")
    local = max(((path.stat().st_mtime, path.parent) for path in _manifests(stage)), default=None)
    found = _latest_in_store(stage)
    if local is not None and (found is None or local[0] >= found.info.end_time / 1000):
        return local[1]
    if found is None:
        command = stage.replace(".", " ", 1)
        raise UsageError(
            f"latest: no finished run of {stage}, neither below runs/ nor in MLflow; run `{command}` first"
        )
    return _fetch(found, None)


def _manifests(stage: str) -> list[Path]:
    found = ((folder / MANIFEST, Manifest.read(folder)) for folder in _local_runs())
    return [path for path, manifest in found if manifest is not None and manifest.stage == stage]


def _latest_in_store(stage: str) -> Any:
    client, _ = tracking.connect()
    from mlflow.exceptions import MlflowException

    query = f"tags.stage = '{stage}' and attributes.status = 'FINISHED'"
    try:
        experiments = [each.experiment_id for each in client.search_experiments()]
        runs = client.search_runs(experiments, query, max_results=1, order_by=["attributes.end_time DESC"])
    except MlflowException:  # a store that is down leaves the runs of this folder
        return None
    return runs[0] if runs else None


def _from_store(run: str, artifact: str | None) -> Path:
    client, _ = tracking.connect()
    from mlflow.exceptions import MlflowException

    try:
        return _fetch(client.get_run(run), artifact)
    except (MlflowException, OSError) as error:
        here = nearest(run, [folder.name for folder in _local_runs()])
        raise UsageError(f"run:{run}: no such run below runs/ ({here}), nor in MLflow: {error}") from None


def _fetch(run: Any, artifact: str | None) -> Path:
    """The run's own folder where it is on this machine, else a download of its artifacts."""
    folder = stored.own(run)
    return _inside(folder, artifact) if folder else stored.copy(run, artifact)
