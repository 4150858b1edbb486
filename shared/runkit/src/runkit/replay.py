"""Play a run's journal into MLflow, from where it was left.

Every step may be repeated without harm: metrics are stored by (name, step, time, value), params that MLflow already has
are left alone, artifacts are overwritten.
"""

import logging
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from runkit import journal, traces, tracking
from runkit.inputs import dataset
from runkit.journal import Event
from runkit.models import Models
from runkit.redact import redact
from runkit.state import State

_BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # MLflow's limits of one request
_GROUPED = {*_BATCH, "trace", "system"}  # sent together where they stand together
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # or its UI opens on traces of apps, and hides the runs
_MLFLOWS_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")  # what it makes up for a run that has none
_LONGEST_PARAM, _LONGEST_TAG = 6000, 8000
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


class Replay:
    """The MLflow copy of the run in `folder`; `attach` names an MLflow run to fill instead of an own one."""

    def __init__(self, folder: Path, attach: str | None = None) -> None:
        self._folder, self._attach = folder, attach
        self._state = State.read(folder)
        self._client: Any = None
        self._traces: traces.Sender | None = None
        self._models: Models | None = None
        self._params: set[str] = set()
        self._parent: str | None = None
        self.progress = 0
        self.place = redact(os.environ.get("MLFLOW_TRACKING_URI", "the default store"))

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run, once known."""
        return self._attach or self._state.run_id

    def is_current(self) -> bool:
        """Whether the store in use has the whole journal already; says no where only MLflow itself could tell."""
        if self._state.run_id is None or self._attach not in (None, self._state.run_id):
            return False
        size = (self._folder / "journal.jsonl").stat().st_size
        return self._state.offset == size and self._state.uri == _expected_place()

    def pump(self) -> None:
        """Send everything new. Raises whatever MLflow raises when it cannot be reached; call again later."""
        if self._client is None:
            self._connect()
        self._nest()
        pending: list[tuple[Event, int]] = []
        for event, end in journal.read(self._folder / "journal.jsonl", self._state.offset):
            if event["event"] in _GROUPED:
                pending.append((event, end))
                continue
            self._send(pending)
            pending = []
            self._step(partial(self._perform, event), end)
        self._send(pending)

    def _send(self, pending: list[tuple[Event, int]]) -> None:
        if pending:
            self._step(partial(self._log_batches, [event for event, _ in pending]), pending[-1][1])

    def _step(self, action: Callable[[], None], end: int) -> None:
        """One action, then the offset after it; what MLflow refuses for its content is skipped."""
        refusal = _refusal(action) and _refusal(action)  # the first may be a row that another run made just now
        if refusal:
            logging.getLogger("runkit").warning("MLflow refuses an entry, it is kept locally only: %s", redact(refusal))
        self._state.offset = end
        self._save()

    def _save(self) -> None:
        self.progress += 1
        self._state.write(self._folder)

    # Connecting

    def _connect(self) -> None:
        client, uri = tracking.connect()
        self.place = redact(uri)
        self.progress += 1
        if self._state.uri != self.place or self._attach not in (None, self._state.run_id):
            self._state = State(self.place, self._attach)
        run = self._find(client) or self._create(client)
        self._params = set(run.data.params)
        self._state.run_id = run.info.run_id
        self._traces = traces.Sender(client, uri, run.info.experiment_id, run.info.run_id)
        self._models = Models(client, run.info.experiment_id, run.info.run_id)
        self._settle(client, run)
        self._save()
        self._client = client

    def _settle(self, client: Any, run: Any) -> None:
        """Make the run's page read well: in an experiment that opens on its runs, under a name that says something."""
        if not _KIND.keys() & client.get_experiment(run.info.experiment_id).tags.keys():
            for name, value in _KIND.items():
                client.set_experiment_tag(run.info.experiment_id, name, value)
        name = _name(self._start())
        if self._attach and _MLFLOWS_NAME.fullmatch(run.info.run_name or ""):
            client.update_run(run.info.run_id, name=name)

    def _find(self, client: Any) -> Any:
        from mlflow.exceptions import MlflowException

        if self._state.run_id is None:
            return None
        try:
            return client.get_run(self._state.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST" or self._attach:
                raise
        self._state = State(self.place)  # the store has been emptied since: all is sent again
        return None

    def _create(self, client: Any) -> Any:
        start = self._start()
        experiment = self._experiment(client, start["experiment"])
        mark = {"reasonscope.record": start["record"]}
        query = f"tags.`reasonscope.record` = '{start['record']}'"
        found = client.search_runs([experiment], query, max_results=1)
        if found:  # made before a kill that came between the answer and our note of it
            return found[0]
        source = {"mlflow.source.name": start["stage"].replace(".", " ", 1), "mlflow.source.type": "LOCAL"}
        return client.create_run(experiment, start_time=start["time"], tags=mark | source, run_name=_name(start))

    def _experiment(self, client: Any, name: str) -> str:
        from mlflow.exceptions import MlflowException

        if found := client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(client.create_experiment(name, tags=_KIND))
        except MlflowException:  # another run made it meanwhile
            if found := client.get_experiment_by_name(name):
                return str(found.experiment_id)
            raise

    def _start(self) -> Event:
        return journal.read(self._folder / "journal.jsonl")[0][0]

    def _nest(self) -> None:
        """Set the parent as soon as it is known: it may be an MLflow id, or a run folder that has no id yet."""
        if self._parent is not None:
            return
        parent = self._start()["parent"]
        if parent and Path(parent).is_dir():
            parent = State.read(Path(parent)).run_id
            if parent is None:
                return
        self._parent = parent or ""
        if self._parent:
            self._client.set_tag(self.run_id, "mlflow.parentRunId", self._parent)

    # Sending

    def _perform(self, event: Event) -> None:
        assert self._models is not None
        match event["event"]:
            case "artifact":
                self._upload(event["path"], event.get("model"))
            case "removed":
                self._remove(event["path"])
            case "input":
                self._client.log_inputs(self.run_id, [dataset(event)])
            case "uses":
                self._models.use(event)
            case "model":
                self._models.make(event, self._settings())
            case "version":
                self._models.register(event)
            case "status":
                self._set_status(event)
            case _:
                pass

    def _set_status(self, event: Event) -> None:
        if event["status"] == "RUNNING":
            self._client.update_run(self.run_id, status="RUNNING")
            return
        if event["status"] == "FINISHED":
            self._measure()
        self._client.set_terminated(self.run_id, event["status"], end_time=event["time"])

    def _upload(self, name: str, model: str | None) -> None:
        path = self._folder / name
        if not path.is_file() or (model and self._models and self._models.upload(model, path, self._folder)):
            return
        self._client.log_artifact(self.run_id, str(path), str(Path(name).parent) if "/" in name else None)

    def _remove(self, name: str) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        place = self._client.get_run(self.run_id).info.artifact_uri
        with suppress(Exception):  # a store that cannot delete, or may not, keeps it
            repository: Any = get_artifact_repository(place, tracking_uri=self._client.tracking_uri)
            repository.delete_artifacts(name)

    def _settings(self) -> dict[str, str]:
        """The run's params: they are its model's, too."""
        events = [event for event, _ in journal.read(self._folder / "journal.jsonl")]
        return {name: str(value) for _, name, value in _values(events, "params")}

    def _measure(self) -> None:
        """The run's results are results of the model that it is about: MLflow compares models by them."""
        assert self._models is not None
        subject = self._models.subject
        if subject is None:
            return
        events = [event for event, _ in journal.read(self._folder / "journal.jsonl")]
        found = {name: (event, value) for event, name, value in _values(events, "metrics") if event["step"] is None}
        self._log(metrics=[_metric(event, name, value, model_id=subject) for name, (event, value) in found.items()])

    def _log_batches(self, events: list[Event]) -> None:
        from mlflow.entities import Param, RunTag

        metrics = [_metric(*each) for kind in ("metrics", "system") for each in _values(events, kind)]
        params = {name: value for _, name, value in _values(events, "params") if name not in self._params}
        tags = {name: value for _, name, value in _values(events, "tags")}
        self._log(metrics=metrics)
        self._log(params=[Param(name, value[:_LONGEST_PARAM]) for name, value in params.items()])
        self._params.update(params)
        self._log(tags=[RunTag(name, value[:_LONGEST_TAG]) for name, value in tags.items()])
        for name in [name for name, value in tags.items() if not value]:
            self._client.delete_tag(self.run_id, name)  # it has just been set, so it is there, also at a second time
        self._log_traces([event for event in events if event["event"] == "trace"])

    def _log_traces(self, events: list[Event]) -> None:
        assert self._traces is not None
        for start in range(0, len(events), traces.BATCH):
            self._traces.send(events[start : start + traces.BATCH])
            self.progress += 1

    def _log(self, **entries: list[Any]) -> None:
        for kind, values in entries.items():
            for start in range(0, len(values), _BATCH[kind]):
                self._client.log_batch(self.run_id, **{kind: values[start : start + _BATCH[kind]]})
                self.progress += 1


def _name(start: Event) -> str:
    return start["run_name"] or start.get("name") or f"{start['stage']}-{start['identity'][:10]}"


def _metric(event: Event, name: str, value: Any, **about: str) -> Any:
    from mlflow.entities import Metric

    return Metric(name, float(value), event["time"], event["step"] or 0, **about)


def _refusal(action: Callable[[], None]) -> str | None:
    """What MLflow says where it refuses an action for its content."""
    from mlflow.exceptions import MlflowException

    try:
        action()
    except MlflowException as error:
        if error.error_code not in _REFUSED:
            raise
        return str(error)
    return None


def _values(events: list[Event], kind: str) -> Iterable[tuple[Event, str, Any]]:
    return (
        (event, name, value) for event in events if event["event"] == kind for name, value in event["values"].items()
    )


def _expected_place() -> str | None:
    """Where MLflow would write, as far as that is known without importing it: the variable, or its file right here."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return redact(uri)
    database = Path.cwd() / "mlflow.db"
    return f"sqlite:///{database}" if database.exists() else None
