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
        data, runs = told_story.data(folder / "data"), []
        for arm in ("typed", "none"):
            taught = told_story.student(folder / arm, arm, 0)
            runs.append(str(told_story.evaluated(folder / f"asked-{arm}", data, taught, arm, 0, ("test", "removed"))))
        return report(ReportOptions(evaluations=tuple(runs), out=folder / "report", shown=30)) / "report.html"


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
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000",
               "--enable-logging=stderr", f"--user-data-dir={place.parent / 'profile'}", "--dump-dom",
               f"{place.as_uri()}{address}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
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
