"""Every report opens from a file, holds what it shows, fits any screen, is legible everywhere, and runs no text."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import reports
from tests.browser.conftest import Open

MEASURING = (Path(__file__).parent / "measuring.js").read_text("utf-8")
FRAME = """([html, kind]) => {
  document.body.innerHTML = '<iframe sandbox="allow-scripts" style="width: 800px; height: 600px"></iframe>';
  const frame = document.querySelector("iframe");
  if (kind === "srcdoc") frame.srcdoc = html;
  else frame.src = URL.createObjectURL(new Blob([html], { type: "text/html" }));
}"""
CONTRAST = 4.5  # WCAG 2.1, level AA
PAGES = pytest.mark.parametrize("name", list(reports.MADE))


def wrong(page: Page, what: str, *given: float) -> list[str]:
    return page.evaluate(f"(given) => {MEASURING}.{what}(...given)", list(given))


def is_light(page: Page) -> bool:
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return int(paper.removeprefix("rgb(").split(",")[0]) > 128


@PAGES
def test_it_holds_what_it_shows_and_runs_no_text(name: str, page_of: Callable[[str], Path], opened: Open):
    page = opened(page_of(name).as_uri())
    assert wrong(page, "missing") == []
    assert wrong(page, "beside") == []
    assert page.title() == page.locator("h1").inner_text()
    last = page.locator("nav a").last
    last.click()
    expect(page.locator("section").last).to_be_in_viewport()
    assert page.url.endswith(str(last.get_attribute("href")))
    assert page.locator("img[src=x], main script:not([type='application/json'])").count() == 0
    assert page.title() != "owned"


@PAGES
def test_it_fits_a_phone(name: str, page_of: Callable[[str], Path], opened: Open):
    page = opened(page_of(name).as_uri(), 390, 844, has_touch=True, is_mobile=True, device_scale_factor=2)
    assert wrong(page, "beside") == []
    assert wrong(page, "unreadable", CONTRAST) == []
    page.set_viewport_size({"width": 360, "height": 780})
    assert wrong(page, "beside") == []


@PAGES
def test_it_is_legible_in_light_and_dark_and_in_print(name: str, page_of: Callable[[str], Path], opened: Open):
    page = opened(page_of(name).as_uri(), color_scheme="dark")
    assert not is_light(page)
    assert wrong(page, "unreadable", CONTRAST) == []
    page.emulate_media(media="print")
    assert is_light(page), "ink on white, whatever the screen is"
    assert wrong(page, "unreadable", CONTRAST) == []
    expect(page.locator("nav")).to_be_hidden()
    assert page.locator(".filter:visible").count() == 0
    page.emulate_media(media="screen", color_scheme="light")
    assert is_light(page)
    assert wrong(page, "unreadable", CONTRAST) == []


@PAGES
@pytest.mark.parametrize("kind", ["blob", "srcdoc"])
def test_it_works_inside_another_page(name: str, kind: str, page_of: Callable[[str], Path], opened: Open):
    """As the MLflow UI shows it: in a frame that may run scripts, and nothing else."""
    page = opened("about:blank")
    page.evaluate(FRAME, [page_of(name).read_text("utf-8"), kind])
    frame = page.frame_locator("iframe")
    frame.locator("nav a").last.click()
    expect(frame.locator("section").last).to_be_in_viewport()
    expect(frame.locator("h1")).not_to_be_in_viewport()
