"""The way to MLflow: imported on first use, because that takes seconds, and set to give up early on a dead server."""

import logging
import os
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # MLflow's own defaults wait four minutes for a server that is down
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_SQLITE = "sqlite:///"
_MAKING = Lock()  # the migrations cannot run in two threads at once


def connect() -> tuple[Any, str]:
    """An `MlflowClient` of the store in use, and its address. Settings made by the user stand."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for noisy in ("alembic", "mlflow", "urllib3.connectionpool"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    uri = mlflow.get_tracking_uri()
    if uri.startswith(_SQLITE):
        _make_whole(Path(uri.removeprefix(_SQLITE).partition("?")[0]))
    return mlflow.MlflowClient(tracking_uri=uri), uri


def _make_whole(file: Path) -> None:
    """Make a SQLite store's tables under another name, and give it its own when they are all there.

    MLflow makes them in place, in many steps; killed in between it leaves a file that nothing can open any more.
    """
    with _MAKING:
        if file.exists() or not file.parent.is_dir():
            return
        part = file.with_name(f".{file.name}.{os.getpid()}")
        _make(part)
        with suppress(FileExistsError):  # unlike a move, a link leaves alone a store that another has made meanwhile
            os.link(part, file)
        part.unlink()


def _make(file: Path) -> None:
    utils: Any = import_module("mlflow.store.db.utils")
    engine = utils.create_sqlalchemy_engine(f"{_SQLITE}{file.absolute()}")
    utils._safe_initialize_tables(engine)
    engine.dispose()
