"""What the server answers: the page, where features fire in a text, and what the database holds."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from runkit.errors import UsageError
from runkit.page.markup import text
from starlette.middleware.trustedhost import TrustedHostMiddleware

from expgen.serving.firing import Firing
from expgen.serving.lookup import Lookup
from expgen.store import Feature

_LONGEST = 1_000_000  # characters that are tokenised at all
_STRONGEST = 30
_CLOSED, _OPEN = text("default-src 'none';"), text("default-src 'none'; connect-src 'self';")  # as pages write them


class Asked(BaseModel):
    """A text, and the feature that is asked for; without one, the strongest of all."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=_LONGEST)
    feature: str | None = None


def application(page: str, lookup: Lookup, firing: Firing, model: str, hosts: list[str]) -> FastAPI:
    """The server. `model`: the name of the model in the tables; `hosts`: names it may be called by.

    Pages of other addresses cannot read its answers: it sends no CORS headers, and it answers to its own names alone,
    so that no other name can be pointed at it.
    """
    made = FastAPI(title="expgen", docs_url=None, redoc_url=None)
    made.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    shown = served(page)

    @made.get("/")
    def home() -> HTMLResponse:
        return HTMLResponse(shown)

    @made.post("/api/fires")
    def fires(asked: Asked) -> dict[str, Any]:
        try:
            return _one(asked, firing, model) if asked.feature else _all(asked, firing, lookup)
        except UsageError as error:
            raise HTTPException(422, str(error)) from None

    @made.get("/api/search")
    def search(
        q: Annotated[str, Query(max_length=1000)], limit: Annotated[int, Query(ge=1, le=1000)] = 50
    ) -> list[dict[str, Any]]:
        return lookup.search(q, limit)

    @made.get("/api/feature/{name}")
    def feature(name: str) -> dict[str, Any]:
        found = lookup.feature(name)
        if found is None:
            raise HTTPException(404, f"no feature {name}: names are such as mlp_post.3.17+")
        return found

    return made


def served(page: str) -> str:
    """The page with leave to ask this server, and the mark by which its script knows that it may."""
    return page.replace(_CLOSED, _OPEN, 1).replace('<html lang="en">', '<html lang="en" data-served>', 1)


def open_page(folder: Path) -> str:
    """The page of a report. Raises UsageError where it is none that can be served."""
    page = (folder / "report.html").read_text("utf-8")
    if page == served(page):
        raise UsageError(f"{folder / 'report.html'} is no page of this version: run expgen report again with --fresh")
    return page


def _one(asked: Asked, firing: Firing, model: str) -> dict[str, Any]:
    feature = Feature.parse(asked.feature or "", model)
    read = firing.read(asked.text)
    tokens = [token._asdict() for token in read.tokens]
    return {"feature": str(feature), "tokens": tokens, "activations": firing.one(read, feature)}


def _all(asked: Asked, firing: Firing, lookup: Lookup) -> dict[str, Any]:
    read = firing.read(asked.text)
    found = firing.strongest(read, _STRONGEST)
    said = lookup.descriptions(each.name for each in found)
    tokens = [token._asdict() for token in read.tokens]
    return {
        "tokens": tokens,
        "features": [each._asdict() | {"description": said.get(each.name)} for each in found],
    }
