"""The folder student/: whole or not there, from before the first step on."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actkit.loading import quiet_unless_watched
from runkit import files

from memreason.codec import Codec
from memreason.student import FOLDER, Base
from memreason.training import adapters

_PARTIAL = f"{FOLDER}.partial"


class Shelf:
    """Where a run's student is kept: tokenizer, scheme.json, base.json, and what has learnt, once something has."""

    def __init__(self, run: Path, codec: Codec, base: Base) -> None:
        self.folder, self._partial = run / FOLDER, run / _PARTIAL
        self._codec, self._base = codec, base

    def open(self) -> None:
        """The folder before any step, where there is none yet."""
        if not self.folder.is_dir():
            self._replace(lambda _: None)

    def save(self, learner: Any) -> None:
        """Put the learner in the place of what is there. A kill leaves the old one, the new one, or none."""
        self._replace(lambda folder: _write(folder, learner))

    def _replace(self, write: Callable[[Path], None]) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self._codec.tokenizer.save_pretrained(self._partial)
        self._codec.scheme.save(self._partial)
        self._base.save(self._partial)
        write(self._partial)
        for path in files.files_below(self._partial):
            files.sync(path)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._partial.replace(self.folder)
        files.sync(self.folder.parent)


def _write(folder: Path, learner: Any) -> None:
    if hasattr(learner, "peft_config"):
        adapters.save(folder, learner)
        return
    with quiet_unless_watched():
        learner.save_pretrained(folder)
