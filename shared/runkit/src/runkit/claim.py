"""Which folder belongs to which options: the identity of a run."""

import hashlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from runkit import journal, naming, provenance, refs
from runkit.errors import UsageError
from runkit.options import Options, command_line, flag, identity, inputs, origin

JOURNAL = "journal.jsonl"
_OF_EVERY_RUN = (".lock", JOURNAL, "mirror.json", "traceback.txt")


class Source(NamedTuple):
    """Something that a run reads from this machine: as the option has it, where it is, and a digest of its content."""

    text: str
    place: Path
    digest: str


class Claim:
    """What a run is: stage, version of its package, the options that matter, the content of what it reads.

    Attributes:
        folder: `--out`, or runs/STAGE-HASH below the working folder.
        sources: what each option names that is read from this machine.
        models: the names of models on the hub, by option.
        about: what it is about, in words.
    """

    def __init__(self, stage: str, options: Options) -> None:
        self.stage, self._options = stage, options
        texts = inputs(options)
        places = {name: refs.locate(text, **origin(options, name)) for name, text in texts.items()}
        self.sources = {
            name: Source(texts[name], place, provenance.fingerprint(place))
            for name, place in places.items()
            if isinstance(place, Path)
        }
        self.models = {
            name: place for name, place in places.items() if name in naming.MODELS and isinstance(place, str)
        }
        self.about = naming.About.of(stage, options, texts, places)
        self._facts: dict[str, Any] = {
            "stage": stage,
            "version": provenance.version_of(stage.partition(".")[0]),
            "options": identity(options),
            "inputs": {name: source.digest for name, source in self.sources.items()},
        }
        self.identity = hashlib.sha256(orjson.dumps(self._facts, option=orjson.OPT_SORT_KEYS)).hexdigest()
        self.folder = (options.out or Path("runs") / f"{stage}-{self.identity[:10]}").expanduser().absolute()

    @property
    def command(self) -> str:
        """The command of this run without what is incidental to it (`--out`, `--run-name`, ...)."""
        return command_line(self.stage, self._options, incidental=False)

    def start(self) -> dict[str, Any]:
        """Fields of the journal's first event."""
        names = {"experiment": self._options.experiment, "run_name": self._options.run_name, "name": self.about.name}
        about = {"subject": self.about.subject, "model": self.about.model, "dataset": self.about.dataset}
        return {"identity": self.identity, **self._facts, **names, **about}

    def tags(self, parent: str | None) -> dict[str, Any]:
        """What people filter runs by; `parent`: the folder of the run it is part of."""
        begun = naming.start(Path(parent)) if parent else None
        package = self.stage.partition(".")[0]
        own = self.stage if package == "pipelines" else None
        found = {
            "stage": self.stage, "package": package, "model": self.about.model, "dataset": self.about.dataset,
            "seed": self._options.seed, "pipeline": begun["stage"] if begun else own, "identity": self.identity[:10],
        }  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}

    def check(self) -> None:
        """Make sure that the folder is new, or holds this very run; one that ended before it did anything gives way.

        Raises:
            UsageError: it holds something else; says what differs, and the ways out.
            DataError: its journal's first line is damaged.
        """
        owner = _owner(self.folder)
        if owner is None:
            if strangers := sorted(each.name for each in self.folder.iterdir() if each.name not in (".lock", JOURNAL)):
                raise UsageError(
                    f"--out {self.folder} is not empty and no run folder (it holds {strangers[0]!r}): name another"
                )
        elif owner["identity"] != self.identity and not self._holds_work():
            self.clear()
        elif owner["identity"] != self.identity:
            differences = "; ".join(_differences(owner, self._facts))
            raise UsageError(
                f"{self.folder} belongs to another run ({differences}): give another --out, or --fresh to replace it"
            )

    def _holds_work(self) -> bool:
        return any(each.name not in _OF_EVERY_RUN for each in self.folder.iterdir())

    def clear(self) -> None:
        """Empty the folder, if it is a run's; manifest first, journal last: a kill leaves it owned, not done."""
        if not (self.folder / JOURNAL).exists():
            return
        manifest_first = sorted(
            self.folder.iterdir(), key=lambda path: (path.name != "manifest.json", path.name == JOURNAL)
        )
        for path in manifest_first:
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()


def _owner(folder: Path) -> journal.Event | None:
    return journal.start(folder / JOURNAL)


def _differences(owner: journal.Event, facts: dict[str, Any]) -> list[str]:
    if owner["stage"] != facts["stage"]:
        return [f"stage {owner['stage']}"]
    theirs, ours = owner["options"], facts["options"]
    told = [
        f"{flag(name)} {theirs.get(name)} there, {ours.get(name)} here"
        for name in ours
        if theirs.get(name) != ours[name]
    ]
    told += [f"the content of {flag(name)} has changed" for name in facts["inputs"] if _changed(owner, facts, name)]
    return told or [f"version {owner['version']} there, {facts['version']} here"]


def _changed(owner: journal.Event, facts: dict[str, Any], name: str) -> bool:
    option = name.partition(".")[0]
    same_text = owner["options"].get(option) == facts["options"].get(option)
    return same_text and owner["inputs"].get(name) != facts["inputs"][name]
