"""What the journal of a run already holds, so that a resumed run says nothing twice."""

from runkit.journal import Event


class Memory:
    """Filled from the events of earlier attempts; each `new_*` returns what is worth writing, and remembers it."""

    def __init__(self, past: list[Event]) -> None:
        self.results: dict[str, float] = {}
        self.started = False
        self.attempts = 0
        self._params: set[str] = set()
        self._tags: dict[str, str] = {}
        self._points: set[tuple[str, int]] = set()
        self._artifacts: dict[str, str] = {}
        self._inputs: set[str] = set()
        self._models: set[str] = set()
        for event in past:
            self._recall(event)

    def new_params(self, values: dict[str, str]) -> dict[str, str]:
        """Params not yet written: MLflow refuses to change one."""
        fresh = {name: value for name, value in values.items() if name not in self._params}
        self._params.update(fresh)
        return fresh

    def new_tags(self, values: dict[str, str]) -> dict[str, str]:
        fresh = {name: value for name, value in values.items() if self._tags.get(name) != value}
        self._tags.update(fresh)
        return fresh

    def tag(self, name: str) -> str:
        """What it says now; empty where it says nothing."""
        return self._tags.get(name, "")

    def new_metrics(self, values: dict[str, float], step: int | None) -> dict[str, float]:
        """Points of a curve that are new, or (without a step) results that have changed."""
        if step is None:
            fresh = {name: value for name, value in values.items() if self.results.get(name) != value}
            self.results.update(fresh)
            return fresh
        fresh = {name: value for name, value in values.items() if (name, step) not in self._points}
        self._points.update((name, step) for name in fresh)
        return fresh

    def is_new_artifact(self, path: str, digest: str) -> bool:
        known = self._artifacts.get(path) == digest
        self._artifacts[path] = digest
        return not known

    def is_new_model(self, folder: str) -> bool:
        known = folder in self._models
        self._models.add(folder)
        return not known

    def is_new_input(self, digest: str) -> bool:
        known = digest in self._inputs
        self._inputs.add(digest)
        return not known

    def _recall(self, event: Event) -> None:
        match event["event"]:
            case "start":
                self.started = True
            case "params":
                self.new_params(event["values"])
            case "tags":
                self.new_tags(event["values"])
            case "metrics":
                self.new_metrics({name: float(value) for name, value in event["values"].items()}, event["step"])
            case "artifact":
                self.is_new_artifact(event["path"], event["xxh3"])
            case "input":
                self.is_new_input(event["digest"])
            case "uses":
                self.is_new_input(f"model {event['name']} {event['digest']}")
            case "version":
                self.is_new_model(event["folder"])
            case "status":
                self.attempts += event["status"] == "RUNNING"
            case _:
                pass
