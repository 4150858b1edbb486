"""Models in MLflow: what a run made or used is listed among its models, and what it made is registered.

Every step may be repeated without harm: what MLflow has already is found by what made it, or by its content.
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import orjson

from runkit import naming
from runkit.journal import Event
from runkit.redact import redact
from runkit.state import State

T = TypeVar("T")
FOLDER = "reasonscope.folder"  # tag: where in the run's folder the model is
_DIGEST = "reasonscope.digest"
_VERSIONS = "mlflow.modelVersions"  # tag of MLflow's own, which a server sets by itself and a file does not
_NO_NAME = re.compile(r"[/:.%\"' ]")  # what MLflow refuses in a model's name, and blanks, which addresses cannot hold
_ABSENT = ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "FEATURE_DISABLED")


class Models:
    """The models of one run in an MLflow store. A store that knows none of such things gets none, which is logged."""

    def __init__(self, client: Any, experiment: str, run_id: str) -> None:
        self._client, self._experiment, self._run_id = client, experiment, run_id
        self._made: dict[str, Any] = {}
        self._missing: set[str] = set()

    @property
    def subject(self) -> str | None:
        """The model that the run's results are about: the last one it made, else the only one it used."""
        return self._attempt("models", self._subject)

    def _subject(self) -> str | None:
        made = self._made_by(self._run_id)
        if made:
            return str(made[-1].model_id)
        used: list[Any] = self._client.get_run(self._run_id).inputs.model_inputs
        return str(used[0].model_id) if len(used) == 1 else None

    def make(self, event: Event, params: dict[str, str]) -> None:
        """List a model that the run writes."""
        self._attempt("models", lambda: self._make(event, params))

    def upload(self, folder: str, path: Path, within: Path) -> bool:
        """Store a file of a model that has been listed; no: the store lists none."""
        model = self._attempt("models", lambda: self._of_run(folder))
        if model is None:
            return False
        below = path.parent.relative_to(within / folder).as_posix()
        self._client.log_model_artifact(model.model_id, str(path), None if below == "." else below)
        return True

    def register(self, event: Event) -> None:
        """All of a model is there: register it, unless its content has been before."""
        model = self._attempt("models", lambda: self._of_run(event["folder"]))
        if model is not None:
            self._client.finalize_logged_model(model.model_id, "READY")
            self._attempt("registry", lambda: self._register(model, event["digest"]))

    def use(self, event: Event) -> None:
        """Link a model that the run reads: that of the run that made it, or an entry by name and content."""
        self._attempt("models", lambda: self._use(event))

    def _make(self, event: Event, params: dict[str, str]) -> None:
        from mlflow.entities import LoggedModelOutput

        model = self._of_run(event["folder"])
        if model is None:
            name = _NO_NAME.sub("-", event["name"])
            model = self._create(name, {FOLDER: event["folder"], "kind": event["kind"]}, params, self._run_id)
        outputs: Any = self._client.get_run(self._run_id).outputs
        if model.model_id not in _ids(outputs and outputs.model_outputs):
            self._client.log_outputs(self._run_id, [LoggedModelOutput(model.model_id, 0)])

    def _create(self, name: str, tags: dict[str, str], params: dict[str, str], run: str | None) -> Any:
        kind = tags.get("kind")
        return self._client.create_logged_model(self._experiment, name, run, tags, params, model_type=kind)

    def _of_run(self, folder: str) -> Any:
        if folder not in self._made:
            self._made |= {each.tags.get(FOLDER, ""): each for each in self._made_by(self._run_id)}
        return self._made.get(folder)

    def _made_by(self, run: str) -> list[Any]:
        found = self._search(f"source_run_id = '{run}'")
        return sorted(found, key=lambda model: model.creation_timestamp)

    def _search(self, query: str) -> list[Any]:
        return list(self._client.search_logged_models([self._experiment], filter_string=query, max_results=50))

    def _register(self, model: Any, digest: str) -> None:
        from mlflow.exceptions import MlflowException

        name = model.name
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = self._client.search_model_versions(f"name = '{name}' and tags.`{_DIGEST}` = '{digest}'")
        tags = {_DIGEST: digest, FOLDER: model.tags[FOLDER], "kind": model.tags["kind"]}
        source, own = f"models:/{model.model_id}", model.model_id
        version = (
            found[0] if found else self._client.create_model_version(name, source, self._run_id, tags, model_id=own)
        )
        shown = orjson.dumps([{"name": name, "version": int(version.version)}]).decode()
        self._client.set_logged_model_tags(own, {_VERSIONS: shown})

    def _use(self, event: Event) -> None:
        from mlflow.entities import LoggedModelInput

        model = self._made_elsewhere(event["place"]) or self._by_content(event)
        if model.model_id not in _ids(self._client.get_run(self._run_id).inputs.model_inputs):
            self._client.log_inputs(self._run_id, models=[LoggedModelInput(model.model_id)])

    def _made_elsewhere(self, place: str | None) -> Any:
        home = naming.home(Path(place)) if place else None
        run = State.read(home).run_id if home else None
        found = self._made_by(run) if run else []
        at = Path(place or "").absolute().relative_to(home).as_posix() if home else ""
        return next((each for each in found if each.tags.get(FOLDER) == at), found[-1] if found else None)

    def _by_content(self, event: Event) -> Any:
        name, digest = _NO_NAME.sub("-", event["name"]), event["digest"] or "unknown"
        found = self._search(f"name = '{name}' and tags.`{_DIGEST}` = '{digest}'")
        if found:
            return found[0]
        tags = {_DIGEST: digest, "source": event["source"], "mlflow.model.isExternal": "true"}
        model = self._create(name, tags, {}, run=None)
        return self._client.finalize_logged_model(model.model_id, "READY")

    def _attempt(self, what: str, action: Callable[[], T]) -> T | None:
        """The action; None, said once, where the store has no such thing at all."""
        from mlflow.exceptions import MlflowException

        if what in self._missing:
            return None
        try:
            return action()
        except (NotImplementedError, MlflowException) as error:
            code = getattr(error, "error_code", "NOT_IMPLEMENTED")
            if code not in _ABSENT and "Unsupported" not in type(error).__name__:
                raise
            self._missing.add(what)
            logging.getLogger("runkit").warning("this MLflow store keeps no %s: %s", what, redact(str(error)))
            return None


def _ids(links: list[Any] | None) -> set[str]:
    return {each.model_id for each in links or []}
