"""What runs, models and data are called where people read it: in MLflow's tables, filters and columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from runkit import journal, manifest
from runkit.options import Options, distinguishing

MODELS = ("model", "checkpoints", "base")  # options that name a model, by which a run's is known
_LONGEST = 40
_JOURNAL = "journal.jsonl"


class About(NamedTuple):
    """What a run is about.

    Attributes:
        command: the stage without its package.
        model, dataset: what people call them; None where there is none, or where the runs it reads do not agree.
        rest: what else tells it from runs like it, in words.
        seed: the seed in words; empty for seed 0.
    """

    command: str
    model: str | None
    dataset: str | None
    rest: tuple[str, ...]
    seed: str

    @classmethod
    def of(cls, stage: str, options: Options, texts: Mapping[str, str], places: Mapping[str, Path | str]) -> "About":
        """From the options that name something to read, as written (`texts`) and as found (`places`)."""
        origins = [found for place in places.values() if isinstance(place, Path) and (found := origin(place))]
        names = {name: called(texts[name], place) for name, place in places.items()}
        model = next((names[name] for name in MODELS if name in names), None)
        data = [each for name, each in names.items() if name.partition(".")[0] == "data"]
        return cls(
            stage.rpartition(".")[2],
            model or _agreed(origins, "model"),
            ", ".join(data) or _agreed(origins, "dataset"),
            distinguishing(options),
            f"seed {options.seed}" if options.seed else "",
        )

    @property
    def family(self) -> str:
        """What a model that the run makes is called; one of another seed is another version of it."""
        return self._words(self.model, self.dataset, *self.rest) or self.command

    @property
    def subject(self) -> str:
        """What the run is called by those that read it."""
        return self._words(self.family, self.seed)

    @property
    def name(self) -> str:
        """The run's name: at most 40 characters."""
        for told in ((self.model, self.dataset), (self.model or self.dataset,), ()):
            name = f"{self.command} {self._words(*told, *self.rest, self.seed)}".strip()
            if len(name) <= _LONGEST:
                return name
        return name[: _LONGEST - 1] + "…"

    def _words(self, *parts: str | None) -> str:
        """One after the other, without those that only repeat what has been said; of a hub id the last part."""
        said: list[str] = []
        for part in parts:
            words = [word.rpartition("/")[2] for word in (part or "").replace(",", "").split()]
            if not set(words) <= set(said):
                said += words
        return " ".join(said)


def called(text: str, place: Path | str) -> str:
    """The name of what an option names: a hub id, a specimen's name, a run's subject, a file's or folder's name."""
    if isinstance(place, str):
        return place
    if text.startswith("specimen:"):
        return text.removeprefix("specimen:")
    found = origin(place)
    if found is not None:
        return found.get("subject") or found["stage"].rpartition(".")[2]
    return place.resolve().stem if place.is_file() else place.resolve().name


def entitled(text: str, place: Path) -> str:
    """Like `called`, with what the run did to its subject: `infer tiny-reasoner` and `label tiny-reasoner` are two."""
    found = origin(place)
    return found.get("name") or found["stage"] if found else called(text, place)


def origin(place: Path) -> journal.Event | None:
    """How the run began that `place` is the folder of or lies in (at most two folders deep); None: in no run."""
    folder = home(place)
    return start(folder) if folder is not None else None


def home(place: Path) -> Path | None:
    """The folder of the run that `place` is or lies in, at most two folders deep."""
    return manifest.home(place / manifest.NAME)


def start(folder: Path) -> journal.Event | None:
    """The first event of a run, without reading the others."""
    try:
        with (folder / _JOURNAL).open("rb") as file:
            event = journal.unseal(file.readline().removesuffix(b"\n"))
    except FileNotFoundError:
        return None
    return event if event is not None and event["event"] == "start" else None


def _agreed(origins: list[journal.Event], what: str) -> str | None:
    """What all runs say that say anything."""
    said: set[Any] = {found[what] for found in origins if found.get(what)}
    return said.pop() if len(said) == 1 else None
