"""The `cot-neurons` command line: one command per stage."""

from runkit.cli import app as make_app
from runkit.cli import command

from cot_neurons.options import (
    AblateOptions,
    ActivityOptions,
    AttributeOptions,
    DiscoverOptions,
    InferOptions,
    LabelOptions,
    PromptsOptions,
    ReportOptions,
    StabilityOptions,
)

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
command(
    app,
    "label",
    LabelOptions,
    "cot_neurons.label:label",
    help="Say which concept each neuron promotes, and test it on chains that discover has not seen.\n\n"
    "Writes tables/labels.parquet, verdicts, scores, controls, coverage, agreement, and figures/labels.png.\n\n"
    "Example: cot-neurons label --model specimen:tiny-reasoner (after discover; rules need no LLM)",
)
command(
    app,
    "activity",
    ActivityOptions,
    "cot_neurons.activity:activity",
    help="Compare how active each concept's neurons are under different prompts, and hold it against accuracy.\n\n"
    "Writes tables/activity.parquet, item_activity and correlations, and figures/activity.png.\n\n"
    "Example: cot-neurons activity --model MODEL --items RUN-OF-COT,RUN-OF-TEXT-ONLY (after label)",
)
command(
    app,
    "ablate",
    AblateOptions,
    "cot_neurons.ablate:ablate",
    help="Intervene on a concept's neurons while the model reasons, and hold the damage against control draws.\n\n"
    "Writes tables/tests.parquet, effects, outcomes and conditions, and figures/ablation.png.\n\n"
    "Example: cot-neurons ablate --model specimen:tiny-reasoner --mode mean --draws 20 (after label)",
)
command(
    app,
    "attribute",
    AttributeOptions,
    "cot_neurons.attribute:attribute",
    help="Say what each neuron did for the tokens that were written, and where that differs between groups.\n\n"
    "Writes tables/attributions.parquet and contrasts, and figures/attribution.png.\n\n"
    "Example: cot-neurons attribute --model specimen:tiny-reasoner (after infer)",
)
command(
    app,
    "stability",
    StabilityOptions,
    "cot_neurons.stability:stability",
    help="Compare the neurons found with other seeds, numbers of items, k and prompts.\n\n"
    "Writes tables/overlaps.parquet and figures/stability.png.\n\n"
    "Example: cot-neurons stability --neurons RUN-OF-DISCOVER",
)
command(
    app,
    "report",
    ReportOptions,
    "cot_neurons.report:report",
    help="One self-contained page that tells the argument in order: prompts, accuracy, neurons, labels, activity, "
    "ablation.\n\nWrites report.html.\n\nExample: cot-neurons report --labels latest --ablation latest",
)


def main() -> None:
    """Entry point of the `cot-neurons` script."""
    app()
