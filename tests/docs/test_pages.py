"""What the pages point at is there: tests, files, headings; and the hours are those of their script."""

import re
import runpy
from pathlib import Path

import pytest

from tests.docs.shell import PAGES, ROOT, lines

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_NAMED = re.compile(r"`((?:tests|shared|packages|pipelines|benchmarks|docs)/[\w/.-]+)(?:::(\w+))?`")


def _anchors(page: Path) -> set[str]:
    """The names of a page's headings, as the forges make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_links_lead_somewhere(page: Path):
    for target in _LINK.findall(page.read_text("utf-8")):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target}: no such file"
        assert not anchor or anchor in _anchors(there), f"{target}: no such heading"


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_files_and_tests_that_are_named_are_there(page: Path):
    for path, name in _NAMED.findall(page.read_text("utf-8")):
        assert (ROOT / path).exists(), path
        assert not name or re.search(rf"^def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), name


def test_every_figure_stands_beside_a_command():
    """None lies about unused, either."""
    shown: set[Path] = set()
    for page in PAGES:
        pictures = {
            (page.parent / each).resolve() for each in _LINK.findall(page.read_text("utf-8")) if each.endswith(".png")
        }
        assert not pictures or any(lines(page)), f"{page}: pictures without a command"
        shown |= pictures
    assert shown == set((ROOT / "docs" / "images").glob("*.png"))


def test_hours_are_those_of_the_script():
    script = runpy.run_path(str(ROOT / "docs" / "reproduce" / "hours.py"))
    for name, works in script["TABLES"].items():
        assert script["table"](works) in (ROOT / "docs" / "reproduce" / f"{name}.md").read_text("utf-8")


def test_seconds_by_hand():
    """7B parameters, 1000 tokens read at 40 % of 312 TFLOP/s, and two steps that read 14 GB at 60 % of 2.04 TB/s."""
    script = runpy.run_path(str(ROOT / "docs" / "reproduce" / "hours.py"))
    model = script["Model"](7e9, 6e9, 1000)
    work = script["Work"]("", model, read=1000, steps=2, rows=10, length=100)
    expected = 2 * 7e9 * 1000 / (0.4 * 312e12) + 2 * max(0.020, (14e9 + 10 * 100 * 1000) / (0.6 * 2.04e12))
    assert work.seconds(script["GPUS"][0]) == pytest.approx(expected)
