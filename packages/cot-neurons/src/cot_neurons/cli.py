"""The `cot-neurons` command line: one command per stage."""

from runkit.cli import app as make_app
from runkit.cli import command

from cot_neurons.options import DiscoverOptions, InferOptions, PromptsOptions

app = make_app("cot-neurons", "Find the neurons that carry a model's chain of thought.")
command(
    app,
    "prompts",
    PromptsOptions,
    "cot_neurons.prompts:prompts",
    help="Build the prompt variants from one structured source, and check prompts for faults.\n\n"
    "Writes tables/prompts.parquet and lint.parquet, and every prompt as a text file.\n\n"
    "Example: cot-neurons prompts --variant cot --shots 4",
)
command(
    app,
    "infer",
    InferOptions,
    "cot_neurons.infer:infer",
    help="Let a model answer word problems step by step; score its answers, strictly and flexibly.\n\n"
    "Writes tables/items.parquet and figures/accuracy.png.\n\n"
    "Example: cot-neurons infer --model specimen:tiny-reasoner --data specimen:arithmetic-test --limit 50",
)
command(
    app,
    "discover",
    DiscoverOptions,
    "cot_neurons.discover:discover",
    help="Find the strongest neurons of every layer and step while the model writes, and what they promote.\n\n"
    "Writes tables/neurons.parquet, activations.parquet and steps.parquet, figures/chain.png and layers.png.\n\n"
    "Example: cot-neurons discover --model specimen:tiny-reasoner (after infer; takes its newest answers)",
)


def main() -> None:
    """Entry point of the `cot-neurons` script."""
    app()
