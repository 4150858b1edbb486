"""The `memreason` command line: one command per stage."""

from runkit.cli import app as make_app
from runkit.cli import command

from memreason.options import (
    AnnotateOptions,
    AttentionOptions,
    ErrorsOptions,
    EvaluateOptions,
    ExportOptions,
    ImportOptions,
    NeuronsOptions,
    ReportOptions,
    SteerOptions,
    ToyOptions,
    TrainOptions,
)

app = make_app(
    "memreason", "Teach a model to say when it remembers and when it reasons, and measure whether it is true."
)
command(
    app,
    "toy",
    ToyOptions,
    "memreason.toy:toy",
    help="Make a world of people, years, cities and regions, with questions whose steps can be checked exactly.\n\n"
    "Writes tables/traces.parquet and texts.parquet, world.json, and model/ (an untrained model for it).\n\n"
    "Example: memreason toy --people 64 --hops 3",
)
command(
    app,
    "import",
    ImportOptions,
    "memreason.importing:import_",
    help="Read questions, annotated or not, into traces; every row and step that is left out is told.\n\n"
    "Writes tables/traces.parquet, counts and dropped.\n\n"
    "Example: memreason import --data StrategyQA_train_clean.json,StrategyQA_test_clean.json",
)
command(
    app,
    "annotate",
    AnnotateOptions,
    "memreason.annotate:annotate",
    help="Have an LLM split questions into steps that recall and steps that infer.\n\n"
    "Writes tables/traces.parquet, counts and dropped, and exchanges.jsonl.\n\n"
    "Example: memreason annotate --data runs/memreason.import-... --teacher gpt-4o --limit 20 --dry-run",
)
command(
    app,
    "train",
    TrainOptions,
    "memreason.train:train",
    help="Teach a model to write the kind of each step before it: one arm of the experiment.\n\n"
    "Writes student/ (adapter and new rows, or all weights; tokenizer; scheme.json), tables/curve.parquet and "
    "selection.parquet, figures/training.png.\n\n"
    "Example: memreason train --data DATA --model meta-llama/Llama-3.1-8B-Instruct --chat --learning-rate 2e-4 "
    "(several GPUs: accelerate launch -m memreason train ...)",
)
command(
    app,
    "evaluate",
    EvaluateOptions,
    "memreason.evaluate:evaluate",
    help="Ask every question once, and measure answers, steps and labels.\n\n"
    "Writes tables/answers.parquet (and checked.parquet for toy worlds, pairs.parquet with --against), "
    "figures/accuracy.png.\n\nExample: memreason evaluate --data DATA --model latest --grammar (after train)",
)
command(
    app,
    "steer",
    SteerOptions,
    "memreason.steer:steer",
    help="Force and forbid kinds of steps, supply facts, and see what becomes of steps and answers.\n\n"
    "Writes tables/interventions.parquet and answers.parquet, figures/steering.png.\n\n"
    "Example: memreason steer --data DATA --force memory,memory,reason (after train)",
)
command(
    app,
    "errors",
    ErrorsOptions,
    "memreason.errors:errors",
    help="Say of every wrong answer whether memory or reasoning failed: exactly on toy worlds, by an LLM elsewhere.\n\n"
    "Writes tables/blame.parquet and decoupling.parquet (and agreement.parquet where an LLM judges a toy world), "
    "figures/errors.png.\n\n"
    "Example: memreason errors --data DATA --judge gpt-4o-mini (after evaluate)",
)
command(
    app,
    "attention",
    AttentionOptions,
    "memreason.attention:attention",
    help="Where the attention of each kind of token goes, against a shuffled null, and what the type tokens cause.\n\n"
    "Writes tables/mass.parquet, steps.parquet and causes.parquet, figures/attention.png, steps.png and causes.png.\n\n"
    "Example: memreason attention --data DATA (after train)",
)
command(
    app,
    "neurons",
    NeuronsOptions,
    "memreason.neurons:neurons",
    help="Which neurons fire in steps that recall, and which in steps that infer.\n\n"
    "Writes tables/neurons.parquet, figures/neurons.png.\n\n"
    "Example: memreason neurons --data DATA --model specimen:tiny-reasoner --labels latest",
)
command(
    app,
    "export",
    ExportOptions,
    "memreason.export:export",
    help="Merge a student into plain weights that any server of Hugging Face models takes.\n\n"
    "Writes model/ (safetensors, tokenizer, model card, scheme.json).\n\nExample: memreason export (after train)",
)
command(
    app,
    "report",
    ReportOptions,
    "memreason.report:report",
    help="One self-contained page: arms side by side, traces coloured by kind, steering, attention, errors.\n\n"
    "Writes report.html, tables/pairs.parquet.\n\nExample: memreason report --evaluations runs/A,runs/B",
)


def main() -> None:
    """Entry point of the `memreason` script."""
    app()
