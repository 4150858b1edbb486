"""Checkpoints of a run: written whole or not at all, resumed from the newest that is intact, thinned out evenly."""

import shutil
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Protocol

import orjson
from actkit.loading import quiet_unless_watched
from runkit import files
from runkit.errors import DataError, UsageError, disk_full
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from grokked_reasoning import checkpoints, modeling
from grokked_reasoning.checkpoints import SEAL, Checkpoint
from grokked_reasoning.training.history import History
from grokked_reasoning.training.trainer import Trainer
from grokked_reasoning.vocabulary import Vocabulary

_STATE, _HISTORY = "optimizer.safetensors", "history.json"
_PARTIAL = ".partial"
_RESUMABLE = 2  # newest checkpoints that keep the optimizer's state


class Learner(Protocol):
    """A model in training, whoever trains it. `step`: how many steps have been made."""

    model: PreTrainedModel
    step: int

    def told(self) -> dict[str, float]:
        """loss (mean since the last call), learning_rate, gradient_norm, weight_norm."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs beside the weights."""
        ...


class Shelf:
    """The folder of a run's checkpoints."""

    def __init__(self, folder: Path, vocabulary: Vocabulary, keep: int) -> None:
        self.folder, self._vocabulary, self._keep = folder, vocabulary, keep

    def save(self, trainer: Learner, history: History) -> None:
        """Write the checkpoint of the trainer's step: into a folder of another name, sealed, then renamed.

        Room is made before, so that the rename is the last thing done: whenever the process is killed, the folder is as
        it was after some save, or is brought there by the next one.

        Raises:
            DataError: the disk is full, or the folder cannot be written; names the last checkpoint that is whole.
        """
        place = self.folder / f"checkpoint-{trainer.step}"
        partial = place.with_name(place.name + _PARTIAL)
        try:
            self._make_room(trainer.step, history)
            shutil.rmtree(partial, ignore_errors=True)
            self._write(partial, trainer, history)
            shutil.rmtree(place, ignore_errors=True)
            partial.replace(place)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise DataError(self._trouble(place, error)) from error

    def newest(self, log: Callable[[str], None]) -> Checkpoint | None:
        """The checkpoint to go on from; damaged and half-written ones are named and removed."""
        for partial in self.folder.glob(f"*{_PARTIAL}"):
            log(f"{partial.name} was only half written (or half removed) when the run was killed: removed")
            shutil.rmtree(partial)
        for found in reversed(self._all()):
            fault = found.fault() or _not_resumable(found)
            if fault is None:
                return found
            log(f"{fault}: {found.folder.name} is left out, and training goes on from the one before")
            _remove(found.folder)
        return None

    def resume(self, found: Checkpoint, trainer: Trainer) -> History:
        """Put weights, optimizer and history back to those of a checkpoint."""
        tensors = load_file(found.folder / _STATE)
        trainer.restore(found.step, modeling.load(found.folder), tensors)
        return History.of(orjson.loads((found.folder / _HISTORY).read_bytes()))

    def _make_room(self, coming: int, history: History) -> None:
        older = [each for each in self._all() if each.step < coming]
        _lighten(older[: 1 - _RESUMABLE])
        _thin(older, coming, self._keep, {event.step for event in history.events()})

    def _write(self, place: Path, trainer: Learner, history: History) -> None:
        with quiet_unless_watched():
            trainer.model.save_pretrained(place)
        self._vocabulary.tokenizer().save_pretrained(place)
        (place / "vocab.json").write_bytes(orjson.dumps(self._vocabulary.strings))
        save_file(trainer.state(), place / _STATE)
        (place / _HISTORY).write_bytes(orjson.dumps(history.plain()))
        checkpoints.seal(place, trainer.step, [path.name for path in files.files_below(place)])

    def _all(self) -> list[Checkpoint]:
        try:
            return checkpoints.find(self.folder)
        except UsageError:
            return []

    def last_whole(self) -> str:
        """In words, for messages."""
        found = self._all()
        return f"the last good checkpoint is {found[-1].folder}" if found else "no checkpoint was saved before"

    def _trouble(self, place: Path, error: Exception) -> str:
        what = "the disk is full" if disk_full(error) else str(error)
        return f"{place}: not written, {what}; {self.last_whole()}; make room and run the same command again to go on"


def _lighten(found: Iterable[Checkpoint]) -> None:
    """Only the newest checkpoints can be resumed from; the others keep their weights alone."""
    for each in found:
        if (each.folder / _STATE).exists():
            names = [path.name for path in files.files_below(each.folder)]
            checkpoints.seal(each.folder, each.step, sorted({*names} - {SEAL, _STATE, _HISTORY}))
            (each.folder / _HISTORY).unlink(missing_ok=True)
            (each.folder / _STATE).unlink()


def _thin(older: list[Checkpoint], coming: int, keep: int, precious: Container[int | None]) -> None:
    """Make room for the coming step: remove the one whose neighbours are closest together, until `keep` are left.

    The first one, the newest one and precious steps always stay.
    """
    while len(older) >= keep:
        steps = [*(each.step for each in older), coming]
        inner = [i for i in range(1, len(steps) - _RESUMABLE) if steps[i] not in precious]
        if not inner:
            return
        least = min(inner, key=lambda i: (steps[i + 1] - steps[i - 1], i))
        _remove(older.pop(least).folder)


def _remove(folder: Path) -> None:
    """Under a name that counts as half written first, so that nothing half removed can pass for a checkpoint."""
    doomed = folder.with_name(folder.name + _PARTIAL)
    folder.replace(doomed)
    shutil.rmtree(doomed)


def _not_resumable(found: Checkpoint) -> str | None:
    missing = [name for name in (SEAL, _STATE, _HISTORY) if not (found.folder / name).is_file()]
    return f"{found.folder / missing[0]} is missing" if missing else None
