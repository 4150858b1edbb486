"""The `reasonscope` command: pipelines of several stages, each one MLflow run with a child run per stage."""

from functools import partial
from typing import Annotated

import typer
from runkit.cli import app as make_app
from runkit.cli import command
from runkit.frame import guard
from runkit.options import Options, parse

from reasonscope.options import (
    AtlasOptions,
    CotNeuronsOptions,
    DemoOptions,
    ExpgenOptions,
    GrokkingOptions,
    MemreasonOptions,
)

app = make_app("pipelines", "Pipelines of several stages, each one MLflow run with a child run per stage.")
command(
    app,
    "demo",
    DemoOptions,
    "reasonscope.demo:demo",
    help="A first look: every instrument at a size that two CPU cores do in minutes, and one page with what each found."
    "\n\nRuns the other pipelines, small, and the atlas of what they found.\n\nExample: reasonscope demo --at-once 1",
)
command(
    app,
    "cot-neurons",
    CotNeuronsOptions,
    "reasonscope.chain:cot_neurons",
    help="Which neurons write a chain of thought, and what is lost without them: the whole argument, on one page.\n\n"
    "Runs prompts, infer, discover, label, activity, ablate, attribute, stability and report.\n\n"
    "Example: reasonscope cot-neurons --model ./my-model --data problems.jsonl --prompt cot --shots 8 --task none",
)
command(
    app,
    "grokking",
    GrokkingOptions,
    "reasonscope.grokking:grokking",
    help="A transformer stops memorising and starts to reason: composition with its circuit, comparison, and a looped "
    "model beside the plain one, on one page.\n\nRuns data, train, trace and report.\n\n"
    "Example: reasonscope grokking --seed 1",
)
command(
    app,
    "expgen",
    ExpgenOptions,
    "reasonscope.describing:expgen",
    help="Every neuron described in words, the words scored on texts no explainer saw, and a page to look through.\n\n"
    "Runs exemplars, verify, describe, score and report.\n\n"
    "Example: reasonscope expgen --model ./my-model --data texts.jsonl --explainer gpt-4o-mini",
)
command(
    app,
    "memreason",
    MemreasonOptions,
    "reasonscope.recall:memreason",
    help="Can a model say when it remembers and when it reasons? All arms on a toy world with an exact checker.\n\n"
    "Runs toy, train, evaluate, steer, errors, attention, neurons and report.\n\n"
    "Example: reasonscope memreason --arms none,random,typed --seed 1",
)
command(
    app,
    "atlas",
    AtlasOptions,
    "reasonscope.atlas:atlas",
    help="One table of a model's neurons: labels, activity, ablations, attributions, descriptions with scores, memory "
    "against reason, and when in training each became what it is; what it answers, on one page.\n\n"
    "Runs what is not named: infer, discover, label, ablate, attribute, exemplars, describe, score, import, neurons, "
    "emerge.\n\nExample: reasonscope atlas --model ./my-model --labels latest --descriptions latest --selectivity none",
)
looking = typer.Typer()
app.add_typer(looking, name="ui")


@looking.callback(invoke_without_command=True)
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on; the next free one is taken.")] = 5000,
) -> None:
    """Look at the runs in MLflow's UI, in a browser: starts its server and prints the address."""

    def show(_: Options) -> None:
        from reasonscope.ui import ui

        ui(host, port)

    guard("pipelines.ui", partial(parse, Options, {}), show)


def main() -> None:
    """Entry point of the `reasonscope` script."""
    app()
