"""The `grokked-reasoning` command line: one command per stage."""

from runkit.cli import app as make_app
from runkit.cli import command

from grokked_reasoning.options import (
    CapacityOptions,
    EmergeOptions,
    EvaluateOptions,
    LlmBaselineOptions,
    MakeOptions,
    ReportOptions,
    TraceOptions,
    TrainOptions,
)

app = make_app("grokked-reasoning", "Watch a transformer stop memorising and start to reason.")
command(
    app,
    "data",
    MakeOptions,
    "grokked_reasoning.data:data",
    help="Make a world of facts: composition, comparison, complex-reasoning or profiles.\n\n"
    "Writes data/ (train.json, valid.json, test.json, vocab.json as the paper's code reads them; facts.parquet, "
    "world.json) and tables/splits.parquet.\n\n"
    "Example: grokked-reasoning data --task composition --profile paper --phi 9",
)
command(
    app,
    "train",
    TrainOptions,
    "grokked_reasoning.train:train",
    help="Train a GPT-2-shaped model from scratch on a world of facts, evaluating every kind of fact on the way.\n\n"
    "Writes checkpoints/checkpoint-N (Hugging Face folders), tables/curves.parquet and events.parquet, "
    "figures/curves.png.\n\n"
    "Example: grokked-reasoning train --max-steps 8000 (after data)",
)
command(
    app,
    "evaluate",
    EvaluateOptions,
    "grokked_reasoning.evaluate:evaluate",
    help="Accuracy and loss of every checkpoint on every type of fact.\n\n"
    "Writes tables/accuracy.parquet and figures/accuracy.png.\n\n"
    "Example: grokked-reasoning evaluate --checkpoints latest (after train)",
)
command(
    app,
    "trace",
    TraceOptions,
    "grokked_reasoning.trace:trace",
    help="Logit lens and causal tracing over checkpoints: where the steps of the reasoning are, and when they appear."
    "\n\nWrites tables/lens.parquet and effects.parquet, figures/circuit.png and lens.png.\n\n"
    "Example: grokked-reasoning trace --limit 300 (after train)",
)
command(
    app,
    "emerge",
    EmergeOptions,
    "grokked_reasoning.emerge:emerge",
    help="When in training each neuron became what it is: from which checkpoint on it fires, and writes, as in the "
    "finished model.\n\nAny series of Hugging Face checkpoints, on facts or on texts. Writes tables/course.parquet and "
    "emergence.parquet, figures/emergence.png.\n\n"
    "Example: grokked-reasoning emerge --checkpoints latest --batch-size 512 (after train)",
)
command(
    app,
    "capacity",
    CapacityOptions,
    "grokked_reasoning.capacity:capacity",
    help="Bits of knowledge per parameter: train models of several sizes on profiles, and weigh what they know.\n\n"
    "Each model is a run of its own below this one. Writes tables/capacity.parquet and figures/capacity.png.\n\n"
    "Example: grokked-reasoning capacity --people 500,1000 --widths 16,32,64",
)
command(
    app,
    "llm-baseline",
    LlmBaselineOptions,
    "grokked_reasoning.llm_baseline:llm_baseline",
    help="Ask a language model the hard test of complex reasoning, as text.\n\n"
    "Writes tables/answers.parquet and comparison.parquet (with the published numbers), and exchanges.jsonl.\n\n"
    "Example: grokked-reasoning llm-baseline --model gpt-4o --answer cot --limit 20 --dry-run (after data --task "
    "complex-reasoning)",
)
command(
    app,
    "report",
    ReportOptions,
    "grokked_reasoning.report:report",
    help="One self-contained page: curves, circuit, capacity, and the paper's numbers beside ours.\n\n"
    "Writes report.html.\n\nExample: grokked-reasoning report --training latest --tracing latest",
)


def main() -> None:
    """Entry point of the `grokked-reasoning` script."""
    app()
