"""A browser, where there is one, and eyes that hold a page to what every page promises."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.browser import reports

NAMES = ("chromium", "chromium-browser", "google-chrome")
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For a module, not a session: while Playwright is on, its event loop is this thread's."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH (Debian: apt install chromium)")
    with sync_playwright() as play:
        yield play.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture
def complaints() -> list[str]:
    """What pages opened in this test complained of, and what they asked of a network."""
    return []


@pytest.fixture
def opened(browser: Browser, complaints: list[str]) -> Iterator[Open]:
    """Opens an address in a window of its own; in the end no page may have complained, nor asked another server."""

    def opens(address: str, width: int = 1300, height: int = 900, **more: Any) -> Page:
        size = {"width": width, "height": height}
        context = browser.new_context(viewport=size, reduced_motion="reduce", **more)  # type: ignore[arg-type]
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.on("console", lambda message: _heard(message, complaints))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _asked(request, address, complaints))
        page.goto(address)
        return page

    yield opens
    for context in browser.contexts:
        context.close()
    assert complaints == []


def _heard(message: ConsoleMessage, complaints: list[str]) -> None:
    if message.type in ("error", "warning"):
        complaints.append(f"{message.type}: {message.text}")


def _asked(request: Request, address: str, complaints: list[str]) -> None:
    if not request.url.startswith((address.partition("#")[0], "data:", "blob:")):
        complaints.append(f"asked for {request.url}")


@pytest.fixture(scope="session")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A page by its name, made when it is first asked for."""
    made: dict[str, Path] = {}

    def page(name: str) -> Path:
        if name not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("REASONSCOPE_MLFLOW", "off")
                made[name] = reports.MADE[name](tmp_path_factory.mktemp(name))
        return made[name]

    return page
