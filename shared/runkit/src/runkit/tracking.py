"""The way to MLflow: imported on first use, because that takes seconds, and set to give up early on a dead server."""

import logging
import os
from typing import Any

_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # MLflow's own defaults wait four minutes for a server that is down
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


def connect() -> tuple[Any, str]:
    """An `MlflowClient` of the store in use, and its address. Settings made by the user stand."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for noisy in ("alembic", "mlflow", "urllib3.connectionpool"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    uri = mlflow.get_tracking_uri()
    return mlflow.MlflowClient(tracking_uri=uri), uri
