"""The `expgen` command line: one command per stage."""

from runkit.cli import app as make_app
from runkit.cli import command

from expgen.options import (
    DescribeOptions,
    ExemplarsOptions,
    ImportOptions,
    ReportOptions,
    ScoreOptions,
    ServeOptions,
    TrainSimulatorOptions,
    VerifyOptions,
)

app = make_app("expgen", "Describe every neuron in words, and score the words.")
command(
    app,
    "exemplars",
    ExemplarsOptions,
    "expgen.exemplars:exemplars",
    help="Run a corpus through a model once, and keep what every feature of every layer responds to most.\n\n"
    "Writes exemplars/SPLIT/, tables/features.parquet, sequences and mixture, and figures/activations.png.\n\n"
    "Example: expgen exemplars --model specimen:tiny-reasoner --data texts.jsonl (many GPUs: accelerate launch -m "
    "expgen exemplars ...)",
)
command(
    app,
    "verify",
    VerifyOptions,
    "expgen.verify:verify",
    help="Run stored exemplars through the model again, and tell the largest difference.\n\n"
    "Writes tables/differences.parquet.\n\nExample: expgen verify --model specimen:tiny-reasoner (after exemplars)",
)
command(
    app,
    "describe",
    DescribeOptions,
    "expgen.describe:describe",
    help="Say in words what each feature responds to: offline from tokens and contexts, or by an LLM.\n\n"
    "Writes tables/descriptions.parquet.\n\n"
    "Example: expgen describe --explainer gpt-4o-mini (after exemplars; the default explainer needs no LLM)",
)
command(
    app,
    "score",
    ScoreOptions,
    "expgen.score:score",
    help="Test descriptions on sequences that no explainer saw, beside null descriptions.\n\n"
    "Writes tables/scores.parquet and best.parquet, and figures/scores.png.\n\n"
    "Example: expgen score --scorers simulation,detection (after describe); "
    "--text 'fires on numbers' --feature mlp_post.3.17+ scores your own words",
)
command(
    app,
    "train-simulator",
    TrainSimulatorOptions,
    "expgen.train_simulator:train_simulator",
    help="Teach a small causal LM to predict activations from a description and a text.\n\n"
    "Writes simulator/, tables/curve.parquet and simulated.parquet, and figures/training.png.\n\n"
    "Example: expgen train-simulator --model specimen:tiny-reasoner (after describe)",
)
command(
    app,
    "import",
    ImportOptions,
    "expgen.importing:import_",
    help="Turn exemplar files of the original code (npy) into a store that describe and score accept.\n\n"
    "Writes what exemplars writes.\n\n"
    "Example: expgen import --folder data/fineweb_lmsys_.../ --tokenizer FOLDER --model-name meta-llama/Llama-3.1-8B",
)
command(
    app,
    "report",
    ReportOptions,
    "expgen.report:report",
    help="One self-contained page and a database: what every feature responds to, and how well the words say it.\n\n"
    "Writes report.html and neurons.sqlite.\n\nExample: expgen report --descriptions latest --scores latest",
)
command(
    app,
    "serve",
    ServeOptions,
    "expgen.serve:serve",
    help="A small local server: the page, and where each feature fires in a text that is pasted.\n\n"
    "Example: expgen serve --model specimen:tiny-reasoner (after report), then open the address it prints",
)


def main() -> None:
    """Entry point of the `expgen` script."""
    app()
