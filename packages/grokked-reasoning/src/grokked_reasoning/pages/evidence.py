"""What the page is made from: the tables of finished runs, read once, and which of them belong together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import polars as pl
from runkit import journal, manifest, provenance, runs
from runkit.claim import JOURNAL
from runkit.errors import UsageError
from runkit.page.sources import Made, Sources

from grokked_reasoning import tables
from grokked_reasoning.options import ReportOptions, TrainOptions

_OWN = {"seed", "data", "threads"}  # options that differ between runs of one setting


@dataclass(frozen=True)
class Trained:
    """One run of `train`. world: what world.json of its data says; empty where that data had none."""

    folder: Path
    options: TrainOptions
    world: dict[str, Any]
    curves: pl.DataFrame
    events: pl.DataFrame

    @property
    def digest(self) -> str:
        """By which runs that read it know it."""
        return provenance.fingerprint(self.folder)

    @property
    def task(self) -> str:
        """The task, as far as its data can be found."""
        return self.world.get("task", "unknown task")

    @property
    def sizes(self) -> dict[str, Any]:
        """The world's sizes."""
        return self.world.get("sizes", {})

    @property
    def last(self) -> pl.DataFrame:
        """The last evaluation."""
        return self.curves.filter(pl.col("step") == self.curves["step"].max())

    def types(self, kind: str) -> list[str]:
        """The types of rows that count as `id` or `ood`, those that there are."""
        named = self.world.get(kind) or [{"id": "test_inferred_iid", "ood": "test_inferred_ood"}[kind]]
        return [each for each in named if each in self.last["type"]]

    def final(self, kind: str) -> float | None:
        """The least accuracy over the types of a kind at the end."""
        found = self.last.filter(pl.col("type").is_in(self.types(kind)))["accuracy"].to_list()
        return min(found, default=None)

    def event(self, name: str, column: str = "step") -> Any:
        """What the table events says of one."""
        return next(iter(self.events.filter(event=name)[column]), None)

    @property
    def delay(self) -> float | None:
        """Step at which ID facts are grokked over the step at which training facts are fitted."""
        fitted, grokked = self.event("fitted"), self.event("grokked_id")
        return None if not fitted or grokked is None else grokked / fitted


@dataclass(frozen=True)
class Setting:
    """Runs that differ in nothing but their seeds (of world and model)."""

    name: str
    runs: list[Trained]

    @property
    def one(self) -> Trained:
        """What is the same of all can be read off any."""
        return self.runs[0]


class Traced(NamedTuple):
    """One run of `trace`; `of`: the training run it looked at, where that is on the page."""

    folder: Path
    options: dict[str, Any]
    lens: pl.DataFrame
    effects: pl.DataFrame
    of: Trained | None


class Evaluated(NamedTuple):
    """One run of `evaluate`."""

    folder: Path
    accuracy: pl.DataFrame


@dataclass(frozen=True)
class Evidence:
    """All tables; empty or None where no run was named."""

    settings: list[Setting]
    evaluated: list[Evaluated]
    traced: list[Traced]
    capacity: tuple[Path, pl.DataFrame] | None
    compared: list[pl.DataFrame]
    made: list[Made]

    @classmethod
    def read(cls, options: ReportOptions) -> "Evidence":
        """The tables that the options name.

        Raises:
            UsageError: a run is not there or of another stage, or is named twice.
            DataError: a table is damaged.
        """
        find = Sources("grokked-reasoning")
        trained = [_trained(find(text, "training", "train")) for text in options.training]
        _check_twice(trained)
        known = {each.digest: each for each in trained}
        evaluated = [find(text, "evaluation", "evaluate").resolve() for text in options.evaluation]
        traced = [_traced(find(text, "tracing", "trace"), known) for text in options.tracing]
        weighed = find.perhaps(options.capacity, "capacity", "capacity")
        return cls(
            settings=settings(trained),
            evaluated=[Evaluated(each, runs.table(each, "accuracy", tables.Accuracy)) for each in evaluated],
            traced=traced,
            capacity=(weighed, runs.table(weighed, "capacity", tables.Capacity)) if weighed else None,
            compared=[
                runs.table(find(text, "baseline", "llm-baseline"), "comparison", tables.Comparison)
                for text in options.baseline
            ],
            made=find.made,
        )


def picture(folder: Path, name: str) -> bytes:
    """A figure of a run. Raises DataError where the file is not what the run wrote."""
    path = folder / "figures" / f"{name}.png"
    manifest.trust(path)
    return path.read_bytes()


def settings(trained: Sequence[Trained]) -> list[Setting]:
    """The runs by setting, in order of appearance, under names that tell them apart."""
    groups: dict[str, list[Trained]] = {}
    for each in trained:
        groups.setdefault(orjson.dumps(_setting(each), option=orjson.OPT_SORT_KEYS).decode(), []).append(each)
    names = [_name(each[0]) for each in groups.values()]
    told = [_setting(each[0]) for each in groups.values()]
    return [
        Setting(name if names.count(name) == 1 else f"{name}, {_apart(name, i, names, told)}", runs_)
        for i, (name, runs_) in enumerate(zip(names, groups.values(), strict=True))
    ]


def _setting(run: Trained) -> dict[str, Any]:
    """All that was chosen, but for seeds."""
    asked = {name: value for name, value in run.options.model_dump(mode="json").items() if name not in _OWN}
    world = {name: value for name, value in run.world.get("options", {}).items() if name != "seed"}
    sizes = {f"world {name}": value for name, value in {**world, **run.sizes}.items()}
    recipe = {name: getattr(run.options.recipe(), name) for name in ("layers", "width", "heads")}
    kept = {name: value for name, value in asked.items() if name not in _ASIDE}
    return {"task": run.task, **kept, **recipe, **sizes}


_ASIDE = {"out", "experiment", "run_name", "config", "resume", "debug", "device"}


def _name(run: Trained) -> str:
    recipe, loops = run.options.recipe(), run.options.loops
    layers = f"{recipe.layers} layers" + (f" run {loops} times" if loops > 1 else "")
    return f"{run.task}, {layers}, width {recipe.width}"


def _apart(name: str, place: int, names: Sequence[str], told: Sequence[dict[str, Any]]) -> str:
    """Those choices in which a setting differs from others of the same name."""
    others = [each for other, each in zip(names, told, strict=True) if other == name]
    unlike = [key for key in told[place] if any(each.get(key) != told[place][key] for each in others)]
    return ", ".join(f"{key.removeprefix('world ')} {told[place][key]}" for key in unlike)


def _check_twice(trained: Sequence[Trained]) -> None:
    folders = [each.folder for each in trained]
    if twice := next((each for i, each in enumerate(folders) if each in folders[:i]), None):
        raise UsageError(f"--training names {twice} twice: it would count as two seeds")


def _start(place: Path) -> dict[str, Any]:
    """What a run's journal begins with: its options and the digests of what it read."""
    found = journal.start(place / JOURNAL)
    if found is None:
        raise UsageError(f"{place} has no {JOURNAL}: it does not tell its options; name the run's own folder")
    return found


def _trained(place: Path) -> Trained:
    start, place = _start(place), place.resolve()
    return Trained(
        place,
        TrainOptions.model_validate(start["options"]),
        _world(place),
        runs.table(place, "curves", tables.Curves),
        runs.table(place, "events", tables.Events),
    )


def _traced(place: Path, known: dict[str, Trained]) -> Traced:
    lens, effects = runs.table(place, "lens", tables.Lens), runs.table(place, "effects", tables.Effects)
    start = _start(place)
    return Traced(place.resolve(), start["options"], lens, effects, _of(start, known))


def _of(start: dict[str, Any], known: dict[str, Trained]) -> Trained | None:
    return known.get(start["inputs"].get("checkpoints", ""))


def _world(place: Path) -> dict[str, Any]:
    """What the data of a training run said of itself."""
    file = place / "world.json"
    if not file.is_file():
        return {}
    manifest.trust(file)
    return orjson.loads(file.read_bytes())
