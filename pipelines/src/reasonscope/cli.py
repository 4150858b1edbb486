"""The `reasonscope` command: pipelines of several stages, each one MLflow run with a child run per stage."""

from runkit.cli import app as make_app
from runkit.cli import command

from reasonscope.options import DemoOptions

app = make_app("pipelines", "Pipelines of several stages, each one MLflow run with a child run per stage.")
command(
    app,
    "demo",
    DemoOptions,
    "reasonscope.demo:demo",
    help="Find the neurons that carry the arithmetic of a small model's chain of thought.",
)


def main() -> None:
    """Entry point of the `reasonscope` script."""
    app()
