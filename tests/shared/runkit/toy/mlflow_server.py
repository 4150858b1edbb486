"""MLflow's own server (its Flask app) on a port; a line of stdin starts it, in a process that may be killed."""

import os
import signal
import sys

port, database, artifacts = sys.argv[1:]
os.environ["_MLFLOW_SERVER_FILE_STORE"] = f"sqlite:///{database}"
os.environ["_MLFLOW_SERVER_SERVE_ARTIFACTS"] = "true"
os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = "mlflow-artifacts:/"
os.environ["_MLFLOW_SERVER_ARTIFACT_DESTINATION"] = artifacts

from mlflow.server import app  # noqa: E402 - it reads the variables above

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        app.run(port=int(port), threaded=True)
    print(child, flush=True)
