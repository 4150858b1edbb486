"""The page in a browser, where there is one: filters leave the right traces, and no text is run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from memreason.options import ReportOptions
from memreason.report import report

from tests.packages.memreason import told_story

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REASONSCOPE_MLFLOW", "off")
        data, runs = told_story.data(folder / "data"), list[str]()
        for arm in ("typed", "none"):
            taught = told_story.student(folder / arm, arm, 0)
            runs.append(str(told_story.evaluated(folder / f"asked-{arm}", data, taught, arm, 0, ("test", "removed"))))
        steered = (str(told_story.steered(folder / "steered", data, folder / "typed")),)
        options = ReportOptions(evaluations=tuple(runs), steering=steered, out=folder / "report", shown=30)
        return report(options) / "report.html"


@pytest.mark.skipif(CHROMIUM is None, reason="there is no browser")
@pytest.mark.parametrize(
    ("address", "fits"),
    [
        ("", lambda arm, outcome, kinds, text: True),
        ("#arm=none", lambda arm, outcome, kinds, text: arm == "none"),
        ("#outcome=wrong&kinds=memory", lambda arm, outcome, kinds, text: outcome == "wrong" and "memory" in kinds),
        ("#q=OWNED", lambda arm, outcome, kinds, text: "owned" in text),
    ],
)
def test_filters(place: Path, address: str, fits):
    done = opened(place, address)
    cards = re.findall(r"<article ([^>]*)>(.*?)</article>", done.stdout, re.DOTALL)
    assert len(cards) == 60
    for head, text in cards:
        arm, outcome, kinds = (re.findall(rf'data-{name}="([^"]*)"', head)[0] for name in ("arm", "outcome", "kinds"))
        assert (" hidden" in head) == (not fits(arm, outcome, kinds, text)), head
    shown = sum(" hidden" not in head for head, _ in cards)
    assert shown > 0
    assert f">{shown} of 60<" in done.stdout
    assert "<title>What is remembered, what is inferred</title>" in done.stdout
    assert '<img src="x"' not in done.stdout
    assert "<img src=x" not in done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="there is no browser")
def test_the_table_of_control_fits(place: Path):
    """In a copy of the page that may run a script, which writes down how wide the table is, and its room."""
    script = (
        "<script>const room = document.querySelector('#steering-0').parentElement;"
        "document.title = `${room.scrollWidth} in ${room.clientWidth}`;</script>"
    )
    copy = place.with_name("measured.html")
    copy.write_text(re.sub(r"<meta http-equiv[^>]*>", "", place.read_text("utf-8")) + script, "utf-8")
    wide, room = map(int, re.findall(r"<title>(\d+) in (\d+)</title>", opened(copy).stdout)[0])
    assert 900 < wide <= room


def opened(page: Path, address: str = "") -> subprocess.CompletedProcess[str]:
    """The page as the browser has it at last, in a window of 1300 points."""
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000",
               "--window-size=1300,900", "--enable-logging=stderr", f"--user-data-dir={page.parent / 'profile'}",
               "--dump-dom", f"{page.as_uri()}{address}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    return done
