"""The page in a browser, where there is one: search and filters leave the right cards, and no text is run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from expgen.options import ReportOptions
from expgen.pages.evidence import Evidence
from expgen.pages.page import page

from tests.packages.expgen import made, told

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> red"
TEXTS = {"train": [HOSTILE, "the blue sea"], "valid": ["red"], "test": ["blue"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, store: str) -> Path:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store)
        exemplars = made.store(folder / "ex", TEXTS, [made.on("red"), *[made.on("blue", negative=True)] * 24], layer=2)
        descriptions = told.described(folder / "de", exemplars, lambda row: [{"description": say(row)}])
    options = ReportOptions(exemplars=str(exemplars), descriptions=str(descriptions))
    (folder / "report.html").write_text(page(Evidence.read(options), 2000), "utf-8")
    return folder / "report.html"


def say(row: told.Row) -> str:
    return "Crimson <img src=x onerror=\"document.title='owned'\">" if row["neuron"] == 0 else f"kind {row['neuron']}"


@pytest.mark.skipif(CHROMIUM is None, reason="there is no browser")
@pytest.mark.parametrize(
    ("address", "names", "count"),
    [
        ("#q=crimson", ["mlp_post.2.0"], "1 of 25 features"),
        ("#q=kind+7", ["mlp_post.2.7", "mlp_post.2.17"], "2 of 25 features"),
        ("#q=mlp_post.2.1-", ["mlp_post.2.1"], "1 of 25 features"),
        ("#q=crimson&layer=2&polarity=1", ["mlp_post.2.0"], "1 of 25 features"),
        ("#q=nowhere", [], "0 of 25 features"),
        ("", None, "25 of 25 features"),
    ],
)
def test_search(place: Path, address: str, names: list[str] | None, count: str):
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000",
               f"--user-data-dir={place.parent / 'profile'}", "--dump-dom", f"{place.as_uri()}{address}"]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    shown = re.findall(r'data-name="([^"]*)"', dom)
    assert sorted(shown) == sorted(names) if names is not None else len(set(shown)) == len(shown) >= 20
    assert f">{count}<" in dom
    assert "<title>What the neurons of made respond to</title>" in dom
    assert "<img" not in dom
    assert ("Crimson &lt;img src=x" in dom) == ("mlp_post.2.0" in shown)
