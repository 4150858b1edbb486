"""All command lines of the project: package name -> (command, typer app)."""

from cot_neurons.cli import app as cot_neurons
from expgen.cli import app as expgen
from grokked_reasoning.cli import app as grokked_reasoning
from memreason.cli import app as memreason
from specimens.cli import app as specimens

from reasonscope.cli import app as pipelines

COMMANDS = {
    "cot-neurons": ("cot-neurons", cot_neurons),
    "expgen": ("expgen", expgen),
    "grokked-reasoning": ("grokked-reasoning", grokked_reasoning),
    "memreason": ("memreason", memreason),
    "pipelines": ("reasonscope", pipelines),
    "specimens": ("specimens", specimens),
}
