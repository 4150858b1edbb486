"""Which folder belongs to which options: the identity of a run."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import orjson

from runkit import journal, provenance, refs
from runkit.errors import UsageError
from runkit.options import Options, command_line, flag, identity, inputs, origin

JOURNAL = "journal.jsonl"
_OF_EVERY_RUN = (".lock", JOURNAL, "mirror.json", "traceback.txt")


class Claim:
    """What a run is: stage, version of its package, the options that matter, the content of what it reads.

    Attributes:
        folder: `--out`, or runs/STAGE-HASH below the working folder.
        sources: for each option that names something to read from this machine, its text and the digest of its content.
    """

    def __init__(self, stage: str, options: Options) -> None:
        self.stage, self._options = stage, options
        digests = {name: _digest(text, **origin(options, name)) for name, text in inputs(options).items()}
        self.sources = {name: (inputs(options)[name], digest) for name, digest in digests.items() if digest}
        self._facts: dict[str, Any] = {
            "stage": stage,
            "version": provenance.version_of(stage.partition(".")[0]),
            "options": identity(options),
            "inputs": {name: digest for name, (_, digest) in self.sources.items()},
        }
        self.identity = hashlib.sha256(orjson.dumps(self._facts, option=orjson.OPT_SORT_KEYS)).hexdigest()
        self.folder = (options.out or Path("runs") / f"{stage}-{self.identity[:10]}").expanduser().absolute()

    @property
    def command(self) -> str:
        """The command of this run without what is incidental to it (`--out`, `--run-name`, ...)."""
        return command_line(self.stage, self._options, incidental=False)

    def start(self) -> dict[str, Any]:
        """Fields of the journal's first event."""
        names = {"experiment": self._options.experiment, "run_name": self._options.run_name}
        return {"identity": self.identity, **self._facts, **names}

    def check(self) -> None:
        """Make sure that the folder is new, or holds this very run; one that ended before it did anything gives way.

        Raises:
            UsageError: it holds something else; says what differs, and the ways out.
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
    path = folder / JOURNAL
    events = journal.intact(path)
    return events[0] if events and events[0]["event"] == "start" else None


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


def _digest(text: str, stage: str | None = None, artifact: str | None = None) -> str | None:
    place = refs.locate(text, stage=stage, artifact=artifact)
    return provenance.fingerprint(place) if isinstance(place, Path) else None
