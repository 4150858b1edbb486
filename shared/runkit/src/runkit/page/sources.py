"""The runs that a page is made from."""

from pathlib import Path
from typing import NamedTuple

from runkit import runs
from runkit.manifest import Manifest


class Made(NamedTuple):
    """A run that the page is made from, and the command that makes it again."""

    stage: str
    folder: str
    command: str


class Sources:
    """Finds runs of a package's stages, and keeps what the page says of them.

    Attributes:
        made: the runs found, in order.
    """

    def __init__(self, package: str) -> None:
        self.made: list[Made] = []
        self._package = package

    def __call__(self, text: str, option: str, stage: str) -> Path:
        """The folder of the finished run of `stage` that `option` names.

        Raises:
            UsageError: there is none, or it is another stage's.
        """
        place = runs.folder(text, option, f"{self._package}.{stage}")
        manifest = Manifest.read(place)
        self.made.append(Made(stage, place.resolve().name, manifest.command if manifest else ""))
        return place

    def perhaps(self, text: str | None, option: str, stage: str) -> Path | None:
        """The same, where a run is named."""
        return None if text is None else self(text, option, stage)
