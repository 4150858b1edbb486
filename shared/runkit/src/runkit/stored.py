"""What an MLflow store has of a run or a model, as a folder: the run's own where it is on this machine, else a copy."""

import os
import tempfile
from pathlib import Path
from typing import Any

from runkit import tracking
from runkit.errors import UsageError
from runkit.models import FOLDER
from runkit.state import State


def own(run: Any) -> Path | None:
    """The folder that the run was made in, where it is on this machine and still this run's."""
    place = Path(run.data.tags.get("reasonscope.folder", os.devnull))
    return place if (place / "journal.jsonl").is_file() and State.read(place).run_id == run.info.run_id else None


def copy(run: Any, artifact: str | None = None) -> Path:
    """An artifact of a run, or all of it as it was written, with the models that MLflow keeps apart from the run."""
    from mlflow.artifacts import download_artifacts

    client, uri = tracking.connect()
    outputs: list[Any] = run.outputs.model_outputs if run.outputs else []
    made = [client.get_logged_model(each.model_id) for each in outputs]
    models = {each.tags.get(FOLDER, each.name): f"models:/{each.model_id}" for each in made}
    for at, address in models.items():
        if artifact and Path(artifact).is_relative_to(at):
            return Path(download_artifacts(address, tracking_uri=uri)) / Path(artifact).relative_to(at)
    if artifact or not models:
        return Path(download_artifacts(run_id=run.info.run_id, artifact_path=artifact or "", tracking_uri=uri))
    place = Path(tempfile.mkdtemp(prefix="reasonscope-"))  # not in place: the models would be written into the store
    download_artifacts(run_id=run.info.run_id, artifact_path="", dst_path=str(place), tracking_uri=uri)
    for at, address in models.items():
        (place / at).mkdir(parents=True, exist_ok=True)
        download_artifacts(address, dst_path=str(place / at), tracking_uri=uri)
    return place


def model(address: str) -> Path:
    """The folder of a registered model: `models:/NAME/VERSION`, `models:/NAME/latest` or `models:/NAME@ALIAS`.

    Raises:
        UsageError: MLflow has none there, or cannot be reached.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    client, uri = tracking.connect()
    try:
        version = _version(client, address.removeprefix("models:/"))
        home = own(client.get_run(version.run_id)) if version.run_id else None
        place = home / version.tags[FOLDER] if home and FOLDER in version.tags else None
        return place if place and place.is_dir() else Path(download_artifacts(address, tracking_uri=uri))
    except (MlflowException, OSError) as error:
        raise UsageError(f"{address}: no such model in MLflow at {uri}: {error}") from None


def _version(client: Any, name: str) -> Any:
    if "@" in name:
        return client.get_model_version_by_alias(*name.rsplit("@", 1))
    name, _, version = name.partition("/")
    if version == "latest":
        version = str(max(int(each.version) for each in client.search_model_versions(f"name = '{name}'")))
    return client.get_model_version(name, version)
