"""Whether descriptions and exemplars are of the same model."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
import polars as pl
from runkit import journal, manifest, provenance, refs
from runkit.errors import UsageError

from expgen.store import Exemplars


class Origin(NamedTuple):
    """Of which model something is; `weights` and `dtype` are None where they are not told."""

    model: str
    revision: str | None
    weights: str | None
    dtype: str | None

    @classmethod
    def of(cls, about: dict) -> "Origin":
        """As a run of exemplars says it in about.json."""
        identity = about["identity"] or {}
        return cls(about["model"], about["revision"], identity.get("weights"), identity.get("dtype"))

    def is_same(self, other: "Origin") -> bool:
        """Whether they can be of the same model. Weights in another precision cannot be compared."""
        if self[:2] != other[:2]:
            return False
        return self.weights == other.weights or None in (self.weights, other.weights) or self.dtype != other.dtype

    def __str__(self) -> str:
        revision = f", revision {self.revision}" if self.revision else ""
        return self.model + revision + (f" (weights {self.weights[:12]})" if self.weights else "")


def check_origin(path: Path, table: pl.DataFrame, exemplars: Exemplars) -> None:
    """Refuse descriptions (the table at `path`) of another model, revision or weights than the exemplars are of.

    The table itself knows the model's name; the rest is known where it lies in its run, and the exemplars they were
    made of are still at hand.

    Raises:
        UsageError: names both models.
    """
    ours = Origin.of(exemplars.about)
    strangers = [name for name in table["model"].unique().sort() if name != ours.model]
    theirs = Origin(strangers[0], None, None, None) if strangers else _origin(path)
    if theirs is not None and not theirs.is_same(ours):
        raise UsageError(
            f"{path} describes features of {theirs}, but the exemplars in {exemplars.folder} are of {ours}: "
            "name --descriptions and --exemplars of the same model"
        )


def _origin(path: Path) -> Origin | None:
    """What the described exemplars say of their model; None: they are not to be found."""
    run = manifest.home(path)
    start = journal.start(run / "journal.jsonl") if run else None
    digest = start["inputs"].get("exemplars") if start else None
    for place in _places(start["options"].get("exemplars", "")) if start and digest else ():
        if (place / manifest.NAME).is_file() and provenance.fingerprint(place) == digest:
            return Origin.of(orjson.loads((place / "about.json").read_bytes()))
    return None


def _places(text: str) -> Iterator[Path]:
    """Where the exemplars may lie that a run named so."""
    yield from sorted(path.parent for path in Path("runs").glob(f"*/{manifest.NAME}"))
    try:
        yield refs.resolve(text, stage="expgen.exemplars")
    except UsageError:  # gone since
        return
