"""The command line `specimens`: train tiny-reasoner, and say where a specimen lies."""

from functools import partial
from typing import Annotated

import typer
from runkit.cli import app as new_app
from runkit.cli import command
from runkit.frame import guard
from runkit.options import Options, parse
from runkit.refs import resolve

from specimens.options import TrainOptions

app = new_app("specimens", "Models whose answers are known, and how they are made.")
command(app, "train-tiny-reasoner", TrainOptions, "specimens.train_tiny_reasoner:train_tiny_reasoner")
places = typer.Typer()
app.add_typer(places, name="path")


@places.callback(invoke_without_command=True)
def path(name: Annotated[str, typer.Argument(help="Name of a specimen, such as tiny-reasoner.")]) -> None:
    """Print where a specimen lies; test sets are written on first use."""
    guard("specimens.path", partial(parse, Options, {}), lambda _: print(resolve(f"specimen:{name}")))


def main() -> None:
    """Entry point of the `specimens` command."""
    app()
