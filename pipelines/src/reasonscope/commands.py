"""All command lines of the project: package name -> (command, typer app)."""

from cot_neurons.cli import app as cot_neurons
from specimens.cli import app as specimens

from reasonscope.cli import app as pipelines

COMMANDS = {
    "cot-neurons": ("cot-neurons", cot_neurons),
    "pipelines": ("reasonscope", pipelines),
    "specimens": ("specimens", specimens),
}
