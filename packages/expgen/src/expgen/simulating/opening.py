"""From what a user writes to a simulator."""

from runkit import StageRun
from runkit.errors import UsageError

from expgen.options import ScoreOptions
from expgen.simulating import Simulator
from expgen.simulating.tokens import Tokens


def open_simulator(options: ScoreOptions, run: StageRun) -> Simulator:
    """The simulator that --simulator names; the run's log says which way of predicting is used."""
    if options.simulator != Tokens.name:
        raise UsageError(f"--simulator {options.simulator}: only tokens can be had yet")
    run.log("simulator tokens: words of the descriptions are looked up in the texts; no model is asked")
    return Tokens()
