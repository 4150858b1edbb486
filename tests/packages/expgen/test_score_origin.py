"""Descriptions are scored on exemplars of the very model they are of."""

from pathlib import Path

import orjson
import pytest
import runkit
from expgen import tables
from expgen.options import DescribeOptions, ScoreOptions
from expgen.score import score
from expgen.scoring.origins import Origin
from expgen.store import Exemplars
from runkit.errors import UsageError
from runkit.manifest import Entry, Manifest
from runkit.options import parse

from tests.packages.expgen import made, scored

BEFORE = Origin("llama", "v1", "aaaa", "float32")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (BEFORE, True),
        (BEFORE._replace(model="qwen"), False),
        (BEFORE._replace(revision="v2"), False),
        (BEFORE._replace(revision=None), False),
        (BEFORE._replace(weights="bbbb"), False),
        (BEFORE._replace(weights="bbbb", dtype="bfloat16"), True),  # the same weights look otherwise in it
        (BEFORE._replace(weights=None, dtype=None), True),  # stores of the original code do not tell
    ],
)
def test_what_is_of_the_same_model(other: Origin, same: bool):
    assert BEFORE.is_same(other) is same
    assert other.is_same(BEFORE) is same


def _of(folder: Path, **about) -> Path:
    """The same run, of another model as about.json says."""
    path = folder / "about.json"
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | about))
    listed = Manifest.read(folder)
    Manifest(listed.stage, listed.identity, listed.command, {**listed.files, "about.json": Entry.of(path)}).write(
        folder
    )
    return folder


def _described(exemplars: Exemplars, out: Path) -> Path:
    """A run of describe, as far as it is read here."""
    table = scored.descriptions(out.with_suffix(".parquet"), [['fires on "red"'], ['fires on "blue"']])
    with runkit.stage("expgen.describe", DescribeOptions(exemplars=str(exemplars.folder), out=out)) as run:
        run.table("descriptions", runkit.tables.read(table, tables.Descriptions), tables.Descriptions)
    return out


def test_another_revision_is_refused_with_both_names_and_other_exemplars_of_the_same_are_not(workplace: Path):
    runs = {
        name: scored.run(workplace / "runs" / name, [made.on("red"), made.on("blue")], texts=scored.texts(12, seed))
        for seed, name in enumerate(("mine", "more", "older"))
    }
    _of(runs["older"].folder, revision="2023")
    described = _described(runs["mine"], workplace / "described")

    def asked(name: str) -> ScoreOptions:
        given = {"descriptions": str(described), "exemplars": str(runs[name].folder), "out": workplace / f"s-{name}"}
        return parse(ScoreOptions, given)

    assert scored.table(score(asked("mine")), "best")["value"].min() > 0.95
    assert scored.table(score(asked("more")), "best")["value"].min() > 0.95
    with pytest.raises(UsageError, match=r"features of made, but .*older are of made, revision 2023"):
        score(asked("older"))
