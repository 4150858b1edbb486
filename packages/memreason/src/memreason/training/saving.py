"""Folders with a model: whole or not there. student/ is there from before the first step on."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actkit.loading import quiet_unless_watched
from runkit import files

from memreason.codec import Codec
from memreason.student import FOLDER, Base
from memreason.training import adapters


@contextmanager
def whole(folder: Path) -> Generator[Path]:
    """Yield a folder that takes the place of `folder` at the end. A kill leaves the old one, the new one, or none."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    for path in files.files_below(partial):
        files.sync(path)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    files.sync(folder.parent)


class Shelf:
    """Where a run's student is kept: tokenizer, scheme.json, base.json, and what has learnt, once something has."""

    def __init__(self, run: Path, codec: Codec, base: Base) -> None:
        self.folder = run / FOLDER
        self._codec, self._base = codec, base
        if not self.folder.is_dir():
            self.save(None)

    def save(self, learner: Any) -> None:
        """Put the learner, if there is one, in the place of what is there."""
        with whole(self.folder) as folder:
            self._codec.tokenizer.save_pretrained(folder)
            self._codec.scheme.save(folder)
            self._base.save(folder)
            if hasattr(learner, "peft_config"):
                adapters.save(folder, learner)
            elif learner is not None:
                with quiet_unless_watched():
                    learner.save_pretrained(folder)
