"""docs/families.md as it stands. Its content is compared cell by cell at the end of a whole `pytest tests/parity`."""

import re
from pathlib import Path

from actkit.families import REFUSED
from specimens import families

PAGE = Path(__file__).resolve().parents[2] / "docs" / "families.md"


def _rows():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [line.strip("| ").split(" | ") for line in lines if re.match(r"\| .* \| `", line)]


def test_every_tiny_model_has_its_row_and_every_promise_a_verdict():
    assert sorted(row[1].strip("`") for row in _rows()) == sorted([*families.NAMES, *families.VARIANTS])
    assert {len(row) for row in _rows()} == {len(_rows()[0])}


def test_nothing_fails_and_every_number_is_a_reason():
    text = PAGE.read_text(encoding="utf-8")
    reasons = re.findall(r"^(\d+)\. \S", text, re.MULTILINE)
    used = {number for row in _rows() for cell in row[2:] for number in re.findall(r"\d+", cell)}
    assert used == set(reasons)
    assert not any("✗" in cell for row in _rows() for cell in row)
    assert all(f"`{name}`" in text for name in REFUSED)
