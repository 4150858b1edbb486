"""The manifest: which files a finished run consists of, and their hashes. It is written last; readers trust only it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from runkit import files
from runkit.errors import DataError
from runkit.journal import seal, unseal
from runkit.redact import redact

NAME = "manifest.json"


@dataclass(frozen=True)
class Entry:
    """Size in bytes and xxh3-128 of one file."""

    size: int
    xxh3: str

    @classmethod
    def of(cls, path: Path) -> "Entry":
        return cls(path.stat().st_size, files.digest(path))


@dataclass(frozen=True)
class Manifest:
    """A finished run: the stage that made it, the identity of its options and inputs, its command, its files."""

    stage: str
    identity: str
    command: str
    files: dict[str, Entry] = field(default_factory=dict[str, Entry])

    def write(self, folder: Path) -> None:
        listed = {name: {"size": each.size, "xxh3": each.xxh3} for name, each in sorted(self.files.items())}
        record = {"stage": self.stage, "identity": self.identity, "command": redact(self.command), "files": listed}
        files.write_bytes(folder / NAME, seal(record))

    @classmethod
    def read(cls, folder: Path) -> "Manifest | None":
        """The manifest of a run folder; None where the run has not finished.

        Raises:
            DataError: the manifest itself is damaged.
        """
        path = folder / NAME
        if not path.exists():
            return None
        record = unseal(path.read_bytes().removesuffix(b"\n"))
        if record is None:
            raise DataError(f"{path} is damaged (its hash does not match its content): make the run again with --fresh")
        listed = cast("dict[str, dict[str, Any]]", record["files"])
        entries = {name: Entry(each["size"], each["xxh3"]) for name, each in listed.items()}
        return cls(record["stage"], record["identity"], record["command"], entries)

    def verify(self, folder: Path, names: Iterable[str] | None = None) -> None:
        """Check files (all, or those named) against their hashes.

        Raises:
            DataError: names every missing or damaged file, what was expected and found, and the command to rebuild it.
        """
        faults = [fault for name in (self.files if names is None else names) if (fault := self._fault(folder, name))]
        if faults:
            lines = "\n  ".join(faults)
            raise DataError(
                f"{folder} is not what {self.stage} wrote:\n  {lines}\nrebuild it with: {self.rebuild(folder)}"
            )

    def rebuild(self, folder: Path) -> str:
        """The command that makes the run in `folder` anew."""
        default = (Path.cwd() / "runs" / folder.name).resolve() == folder.resolve()
        return self.command + ("" if default else f" --out {folder}") + " --fresh"

    def _fault(self, folder: Path, name: str) -> str | None:
        path, expected = folder / name, self.files.get(name)
        if expected is None:
            return f"{name}: not in the manifest"
        if not path.is_file():
            return f"{name}: missing (expected {expected.size} bytes, xxh3 {expected.xxh3})"
        size = path.stat().st_size
        if size != expected.size:
            return (
                f"{name}: {size} bytes, expected {expected.size}; xxh3 {files.digest(path)}, expected {expected.xxh3}"
            )
        found = files.digest(path)
        return None if found == expected.xxh3 else f"{name}: xxh3 {found}, expected {expected.xxh3}"


def home(path: Path) -> Path | None:
    """The run folder that `path` lies in, at most three levels up, or None."""
    return next((each for each in path.absolute().parents[:3] if _is_run(each)), None)


def _is_run(folder: Path) -> bool:
    """Other tools write a manifest.json as well: ours is known by its hashes."""
    if (folder / "journal.jsonl").exists():
        return True
    return (folder / NAME).is_file() and b'"xxh3"' in (folder / NAME).read_bytes()


def trust(path: Path) -> str | None:
    """Check one file against the manifest of the run it belongs to; a file that belongs to no run is taken as it is.

    Returns:
        Its xxh3-128, where it belongs to a run.

    Raises:
        DataError: the run has not finished, or the file is not what the run wrote.
    """
    folder = home(path)
    if folder is None:
        return None
    manifest = Manifest.read(folder)
    if manifest is None:
        raise DataError(
            f"{path}: the run in {folder} has not finished; run its command again, it goes on where it stopped"
        )
    name = path.absolute().relative_to(folder).as_posix()
    manifest.verify(folder, [name])
    return manifest.files[name].xxh3
