"""Bytes of finished runs that are no more what was written, and who notices. Runs in a process of its own."""

import io
import json
import os
import random
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from reasonscope.commands import COMMANDS
from runkit.commands import app as runkit_app
from runkit.manifest import Manifest
from typer.main import get_command

from tests.faults.pipelines import EVERY

JOURNAL = "journal.jsonl"
NO_ARTIFACTS = {".lock"}
"""Files of a run that say nothing about it."""
OF_ITS_TIME = {JOURNAL, "manifest.json"}
"""Files that say when something was done, and where."""
ELSEWHERE = "elsewhere"
"""Where stages are started anew, in the working folder."""
AT_ONCE = 12
"""Files that are damaged when a stage reads from their runs."""
_APPS = {name: get_command(app) for name, app in {**dict(COMMANDS.values()), "runkit": runkit_app}.items()}


class Flip(NamedTuple):
    """A file of a run, one byte of which is another than was written."""

    path: Path
    content: bytes
    damaged: bytes

    @classmethod
    def at_random(cls, path: Path, dice: random.Random) -> "Flip":
        """Any byte, to any other value."""
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[dice.randrange(len(content))] ^= dice.randint(1, 255)
        flip = cls(path, content, bytes(damaged))
        flip.damage()
        return flip

    @property
    def run(self) -> Path:
        """The folder of its run."""
        return Path(*self.path.parts[:2])

    def named(self, code: int, said: str) -> bool:
        """Whether a command that ended so, and said that, names the file; to go on is right after a journal's end."""
        words = (self.run.name, self.path.relative_to(self.run).as_posix())
        return (code != 0 or self.path.name == JOURNAL) and all(word in said for word in words)

    def damage(self) -> None:
        """Once more, where a command has mended what can be mended: the end of a journal."""
        self.path.write_bytes(self.damaged)

    def mend(self) -> None:
        """Put right what was there."""
        self.path.write_bytes(self.content)


def artifacts(place: Path) -> list[Path]:
    """Every file of every run, relative to the working folder."""
    found = sorted(path for path in place.glob("runs/**/*") if path.is_file() and path.stat().st_size)
    return [path.relative_to(place) for path in found if path.name not in NO_ARTIFACTS]


def single(name: str, place: Path, flips: int, seed: int, told: Path) -> None:
    """Write to `told` what went unnoticed by `runkit verify` or by a command given again: the run's, the pipeline's."""
    _enter(name, place)
    dice, files, missed = random.Random(seed), artifacts(place), list[str]()
    (whole,) = Path("runs").glob(f"pipelines.{name}-*")
    for _ in range(flips):
        path = dice.choice(files)
        run = Path(*path.parts[:2])
        commands = [["runkit", "verify", str(run)], _command(run), _command(whole)]
        flip = Flip.at_random(path, dice)
        for words in commands:
            flip.damage()
            code, said = _said(words)
            missed += [] if flip.named(code, said) else [f"{path}: {words[:2]} ends with {code} and says {said!r}"]
        flip.mend()
    told.write_text(json.dumps(missed))


def downstream(name: str, place: Path, seed: int, told: Path) -> None:
    """Flip a byte in each of some files of the runs that a stage reads from, and start the stage anew, elsewhere.

    It has to fail and to name a file; that one is put right; and so on, until it is done: then it has read no other,
    and gives what it gave at first. Write to `told` how many it named, and what went wrong.
    """
    _enter(name, place)
    dice, named, wrong = random.Random(seed), 0, list[str]()
    for reader, sources in _readers(place):
        there = [path for path in artifacts(place) if Path(*path.parts[:2]) in sources]
        flips = [Flip.at_random(path, dice) for path in dice.sample(there, min(AT_ONCE, len(there)))]
        found = flips
        while found:
            out = Path(ELSEWHERE, reader.name, str(len(flips)))
            code, said = _said([*_command(reader), "--out", str(out)])
            found = [flip for flip in flips if code and flip.named(code, said)]
            named += len(found)
            for flip in found:
                flips.remove(flip)
                flip.mend()
        wrong += [f"{reader.name}: {said[-500:]}"] if code else _different(reader, out)
        for flip in flips:
            flip.mend()
    told.write_text(json.dumps([named, wrong]))


def _enter(name: str, place: Path) -> None:
    os.chdir(place)
    os.environ["REASONSCOPE_MLFLOW"] = "off"
    EVERY[name].shrink()


def _readers(place: Path) -> Iterator[tuple[Path, set[Path]]]:
    """The runs of stages that read from others, and from which; their own files are not theirs to read."""
    runs = sorted(path.relative_to(place) for path in place.glob("runs/*"))
    for run in runs:
        words = ",".join(_command(run)).split(",")
        sources = {each for each in runs if str(place / each) in words}
        if sources:
            yield run, sources


def _command(run: Path) -> list[str]:
    manifest = Manifest.read(run)
    assert manifest is not None
    return shlex.split(manifest.command)


def _said(words: list[str]) -> tuple[int, str]:
    """How a command ends, and what it says to the person watching."""
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        code = _APPS[words[0]].main(words[1:], standalone_mode=False)
    return code or 0, said.getvalue()


def _different(run: Path, other: Path) -> list[str]:
    """Files of a run that another one of the same command does not have, or that are not the same."""
    names = [path.relative_to(run) for path in sorted(run.rglob("*")) if path.is_file()]
    kept = [name for name in names if name.name not in NO_ARTIFACTS | OF_ITS_TIME]
    return [
        f"{other / name} is not as in {run}"
        for name in kept
        if not (other / name).is_file() or (other / name).read_bytes() != (run / name).read_bytes()
    ]
