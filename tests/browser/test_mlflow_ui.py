"""What a reader of the MLflow UI sees of a pipeline: runs by name, what they found, reports that work in place."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser import tracked

PATIENCE = 60_000  # milliseconds: the first page asks for megabytes of script
CALM = """
localStorage.clear();
localStorage["mlflow.assistant.fab.autoOpenedOnFirstLoad_v1"] = "true";
localStorage["mlflow.assistant.panelOpen_v1"] = "false";
"""
Visit = Callable[[str], Page]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of a pipeline, and its store."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        tracked.story(folder)
    return folder


@pytest.fixture(scope="module")
def runs(place: Path) -> dict[str, list[Run]]:
    """By stage, in the order in which they began."""
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    found: dict[str, list[Run]] = {}
    for run in sorted(client.search_runs(["1"]), key=lambda run: run.info.start_time):
        found.setdefault(run.data.tags["stage"], []).append(run)
    return found


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """What `reasonscope ui` prints: the place in the UI where the runs are."""
    command = [sys.executable, "-c", "from reasonscope.cli import main; main()", "ui", "--port", "5870"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{place}/mlflow.db"}
    process = subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        said = [process.stdout.readline() for _ in range(2)]
        assert said[1].startswith("http://127.0.0.1:"), said
        yield said[1].strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[BrowserContext]:
    """One for all tests, so that the megabytes of script are read once; each page begins as if it were the first."""
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    context.set_default_timeout(PATIENCE)
    context.add_init_script(CALM)
    yield context
    context.close()


@pytest.fixture
def visit(runs: dict[str, list[Run]], address: str, window: BrowserContext) -> Iterator[Visit]:
    """Opens a place of the UI."""
    home = address.partition("#")[0]
    yield lambda path: _opened(window.new_page(), f"{home}#{path}" if path else address)
    for page in window.pages:
        page.close()


def _opened(page: Page, address: str) -> Page:
    page.goto(address)
    return page


def listed(page: Page) -> list[str]:
    return page.locator(".ag-row a[href*='/runs/']").all_inner_texts()


def test_runs_are_listed_by_names_that_read_well_below_their_pipeline(visit: Visit, runs: dict[str, list[Run]]):
    page = visit("")
    expect(page.get_by_role("link", name="memreason", exact=True)).to_be_visible(timeout=PATIENCE)
    assert listed(page) == ["memreason"], "its stages are folded under it"
    page.locator(".ag-row").get_by_role("button").first.click()
    expect(page.get_by_role("link", name="train tiny-reasoner made typed", exact=True)).to_be_visible()
    names = {run.info.run_name for stage in runs.values() for run in stage}
    assert set(listed(page)) == names
    assert not [name for name in names if re.search(r"[0-9a-f]{8}", name)], "no hashes"


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ('tags.stage = "memreason.evaluate"',
         {"evaluate tiny-reasoner made typed", "evaluate tiny-reasoner made typed seed 1"}),
        ('tags.model = "tiny-reasoner" and tags.dataset = "made" and metrics.valid_loss > 0.2',
         {"train tiny-reasoner made typed seed 1"}),
    ],
)  # fmt: skip
def test_runs_are_found_by_stage_model_and_dataset(asked: str, names: set[str], visit: Visit):
    page = visit(f"/experiments/1/runs?searchFilter={quote(asked)}")
    page.locator(".ag-row").get_by_role("button").first.click()
    expect(page.locator(".ag-row a[href*='/runs/']")).to_have_count(1 + len(names), timeout=PATIENCE)
    assert set(listed(page)) == {"memreason", *names}


def test_the_page_of_a_run(visit: Visit, runs: dict[str, list[Run]]):
    run = runs["memreason.train"][1]
    page = visit(f"/experiments/1/runs/{run.info.run_id}")
    expect(page.get_by_role("heading", name=run.info.run_name)).to_be_visible(timeout=PATIENCE)
    for text in ("valid_loss", "0.25", "arm", "typed", "specimen:tiny-reasoner"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
    expect(page.get_by_text("memreason train --seed 1", exact=False).first).to_be_visible()
    expect(page.get_by_text("made (", exact=False).first).to_be_visible()
    expect(page.get_by_text("tiny-reasoner-made-typed", exact=False).first).to_be_visible()


def test_a_figure_is_shown_in_place(visit: Visit, runs: dict[str, list[Run]]):
    page = visit(f"/experiments/1/runs/{runs['memreason.steer'][0].info.run_id}/artifacts/figures/steering.png")
    picture = page.locator(".image-container img, img[src^='blob:']").first
    expect(picture).to_be_visible(timeout=PATIENCE)
    assert picture.evaluate("each => each.naturalWidth") > 100


def test_a_report_works_in_place(visit: Visit, runs: dict[str, list[Run]]):
    page = visit(f"/experiments/1/runs/{runs['memreason.report'][0].info.run_id}/artifacts/report.html")
    complaints: list[str] = []
    page.on("console", lambda each: complaints.append(each.text) if each.location["url"].startswith("blob:") else None)
    report = page.frame_locator("iframe")
    bar = report.locator("#traces .filter")
    bar.get_by_role("searchbox").fill("Ada")
    shown = report.locator(".trace:visible")
    assert 0 < shown.count() < report.locator(".trace").count()
    expect(bar.get_by_role("status")).to_have_text(f"{shown.count()} of {report.locator('.trace').count()}")
    report.locator("nav a").last.click()
    expect(report.locator("#made")).to_be_in_viewport()
    report.locator("#runs").get_by_role("button", name="stage").click()
    assert report.locator("#runs tbody th").first.inner_text() == "evaluate"
    assert complaints == []
    assert page.title() != "owned"


def test_runs_are_compared(visit: Visit, runs: dict[str, list[Run]]):
    named = json.dumps([run.info.run_id for run in runs["memreason.train"]])
    page = visit(f"/compare-runs?runs={quote(named)}&experiments={quote(json.dumps(['1']))}")
    plot = page.locator(".js-plotly-plot").first
    expect(plot.locator(".axis-title").get_by_text("seed")).to_be_visible(timeout=PATIENCE)
    expect(plot.locator(".axis-title").get_by_text("loss").first).to_be_visible()
    expect(plot.locator("canvas").first).to_be_visible()
    colours = Image.open(BytesIO(plot.screenshot())).convert("RGB").getcolors(1 << 20) or []
    assert sum(count for count, (r, g, b) in colours if max(r, g, b) - min(r, g, b) > 80) > 200, "no lines are drawn"


def test_calls_of_a_language_model_are_traces(visit: Visit, runs: dict[str, list[Run]]):
    page = visit(f"/experiments/1/runs/{runs['memreason.errors'][0].info.run_id}/traces")
    rows = page.get_by_text(re.compile(r"^Question: was \w+ born before \w+"))
    expect(rows.first).to_be_visible(timeout=PATIENCE)


def test_models_are_registered_and_lead_to_their_runs(visit: Visit, runs: dict[str, list[Run]]):
    page = visit("/models")
    expect(page.get_by_text("tiny-reasoner-made-typed", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Version 2")).to_be_visible()
    page.goto(f"{page.url.partition('#')[0]}#/models/tiny-reasoner-made-typed/versions/2")
    link = page.get_by_role("link", name=runs["memreason.train"][1].info.run_name)
    expect(link.first).to_be_visible(timeout=PATIENCE)
