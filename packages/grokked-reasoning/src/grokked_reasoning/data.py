"""Stage `data`: make a world of facts, and write it as the paper's code reads it."""

from importlib import import_module
from pathlib import Path

import runkit

from grokked_reasoning.options import MakeOptions
from grokked_reasoning.profiles import Task
from grokked_reasoning.worlds.made import Made

MAKERS: dict[Task, str] = {
    "composition": "grokked_reasoning.worlds.composition",
    "comparison": "grokked_reasoning.worlds.comparison",
    "complex-reasoning": "grokked_reasoning.worlds.complex_reasoning",
    "profiles": "grokked_reasoning.worlds.people",
}
"""Modules with `make(options: MakeOptions, size: World) -> Made`, imported when used."""


def made(options: MakeOptions) -> Made:
    """The world that is asked for."""
    return import_module(MAKERS[options.task]).make(options, options.world())


def data(options: MakeOptions) -> Path:
    """Run the stage: folder `data`, table `splits`, counts as metrics. Returns its folder."""
    with runkit.stage("grokked-reasoning.data", options) as run:
        if run.finished:
            return run.folder
        raise NotImplementedError
