"""A command line with one stage, made as a package makes its own: nothing heavy is imported here."""

import signal
from typing import Literal

import runkit
from pydantic import Field
from runkit import cli


class CountOptions(runkit.DataOptions):
    """Count something, slowly."""

    pieces: int = Field(10, ge=1, le=1000, description="Pieces of work.")
    nap: float = Field(0.0, ge=0, description="Seconds of work per piece.")
    fail: Literal["no", "data", "bug", "hint"] = Field("no", description="How to fail.")
    layers: tuple[int, ...] = Field((), description="Some layers.")
    api_key: str | None = Field(None, description="A key.")


app = cli.app("toy", "Toys.")
cli.command(app, "count", CountOptions, "toy_stage:count")

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run started in the background ignores it
    app()
