"""The `runkit` command: look after the folders that runs have left."""

from pathlib import Path
from typing import Annotated

import typer

from runkit import cli, frame
from runkit.errors import ReasonscopeError, UsageError

app = cli.app("runkit", "Look after the folders that runs have left.")
Folder = Annotated[str, typer.Argument(help="Folder of a run, or run:ID.")]


@app.command()
def sync(folder: Folder) -> None:
    """Send MLflow what it has missed of a run."""
    from runkit.lock import Lock
    from runkit.replay import Replay

    try:
        place = _run_folder(folder)
        lock = Lock(place)
        replay = Replay(place)
        try:
            replay.pump()
        except Exception as error:  # whatever a tracking server answers
            raise ReasonscopeError(f"MLflow at {replay.place} does not take the record: {error}") from error
        finally:
            lock.release()
        print(f"{place} is in MLflow at {replay.place} as run {replay.run_id}")
    except ReasonscopeError as error:
        frame.fail(error)


@app.command()
def verify(folder: Folder) -> None:
    """Check the files of a finished run against their hashes, and its journal line by line."""
    from runkit import runs

    try:
        place = _run_folder(folder)
        manifest = runs.verify(place)
        print(f"{place}: {len(manifest.files)} files of {manifest.stage} are intact")
    except ReasonscopeError as error:
        frame.fail(error)


def _run_folder(text: str) -> Path:
    from runkit import refs

    folder = refs.resolve(text)
    if not (folder / "journal.jsonl").is_file():
        raise UsageError(f"{folder} is no folder of a run: it holds no journal.jsonl")
    return folder
