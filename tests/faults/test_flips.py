"""Bytes of finished runs flipped at random: each is found and named, by whoever looks and by what reads it next."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import flipping
from tests.faults.killing import undisturbed
from tests.faults.pipelines import EVERY

FLIPS = 200


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for name in EVERY if name != "demo"])  # whose runs are those of the others
def test_every_flip_is_found_and_named(name: str, processes, calm, figures: Callable[..., None], tmp_path: Path):
    place, told = calm(name).place, tmp_path / "told.json"
    before = {path: (place / path).read_bytes() for path in flipping.artifacts(place)}

    undisturbed(processes.Process(target=flipping.single, args=(name, place, FLIPS, len(name), told)))
    assert json.loads(told.read_text()) == []
    figures(
        "Bytes flipped at random in files of finished runs", f"pipeline `{name}`",
        tried=f"{FLIPS} flips, one at a time, in tables, weights, figures, pages, records",
        held=f"{FLIPS} of {FLIPS} named by `runkit verify`, by the command given again and by its pipeline's",
    )  # fmt: skip

    undisturbed(processes.Process(target=flipping.downstream, args=(name, place, len(name), told)))
    named, wrong = json.loads(told.read_text())
    assert wrong == []
    assert named > 0
    assert before == {path: (place / path).read_bytes() for path in before}, "the test has left damage behind"
    shutil.rmtree(place / flipping.ELSEWHERE)
    figures(
        "Bytes flipped in what a stage reads", f"pipeline `{name}`",
        tried=f"every stage that reads from others, started anew with {flipping.AT_ONCE} files of theirs damaged",
        held="each file it reads is named before it is used; with those put right the result is the same",
    )  # fmt: skip
