"""Every pipeline, as small as it can be with all its stages at work: what the tests of faults kill and damage.

Models and data lie in the working folder and are named by relative paths, and sizes that a pipeline leaves to its
stages are replaced by small ones: a run takes seconds, and its bytes depend on the working folder alone.
"""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import runkit
from grokked_reasoning import profiles
from matplotlib.figure import Figure
from reasonscope import atlas, chain, demo, describing, grokking, recall
from reasonscope.neurons import making
from reasonscope.options import (
    AtlasOptions,
    CotNeuronsOptions,
    DemoOptions,
    ExpgenOptions,
    GrokkingOptions,
    MemreasonOptions,
)
from specimens import planted

from tests.figures import coarse
from tests.packages.cot_neurons import label_subjects


class Pipeline(NamedTuple):
    """`run` with `options`, where `prepare` has made what they name; `shrink` is called in the process that runs it."""

    run: Callable[..., object]
    options: runkit.Options
    prepare: Callable[[], object]
    shrink: Callable[[], object]
    runs: int
    """How many it makes, its own among them."""


def run(name: str, place: Path, recording: str = "off") -> None:
    """Run a pipeline in the working folder `place`, without MLflow unless `recording` is on."""
    os.chdir(place)
    os.environ["REASONSCOPE_MLFLOW"] = recording
    pipeline = EVERY[name]
    pipeline.shrink()
    pipeline.run(pipeline.options)


def prepare(name: str, place: Path) -> None:
    """Make the working folder."""
    place.mkdir()
    os.chdir(place)
    EVERY[name].prepare()


def _coarse_figures() -> None:
    Figure.savefig = coarse


def _fewer(module: ModuleType, **sizes: dict[str, Any]) -> None:
    """Give the options by which a pipeline calls its stages other defaults."""
    _coarse_figures()
    for name, values in sizes.items():
        setattr(module, name, partial(getattr(module, name), **values))


def _planted_chain() -> None:
    """A model that adds, with a neuron for each concept, so that labels, activity and ablation have something to do."""
    label_subjects.save(Path("model"), background=0.05)
    asked = [f"Ann has {n} apples and gets 3 more. How many apples are there?" for n in range(2, 10)]
    rows = [{"question": each, "answer": "2 + 3 = 5\n#### 5"} for each in asked]
    Path("problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("text.txt").write_text("2 apples and three more make 2 + 3 = 5 fruits.\n" * 3)


_CHAIN = CotNeuronsOptions(
    model="model", data="problems.jsonl", variants=("cot", "equation_only"), shots=1, limit=6, variant_limit=2,
    concepts=("add",), draws=2, doses=(-1.0,), ablation_limit=2, task="problems.jsonl", text="text.txt", device="cpu",
)  # fmt: skip
_CHAIN_SIZES: dict[str, dict[str, Any]] = {
    "DiscoverOptions": {"limit": 3, "k": 4, "promoted": 4},
    "LabelOptions": {"limit": 3},
}


def _small_worlds() -> None:
    """The grokking pipeline asks for a profile's sizes: these are put in their place."""
    _fewer(grokking, TrainOptions={"keep": 3})
    profiles.WORLDS["default"] |= {
        "composition": profiles.World(10, 4, 4, phi=1.5, ood=0.3, held_out=0.2),
        "comparison": profiles.World(12, 1, values=4, phi=4.0, ood=0.2, held_out=0.2),
    }
    profiles.RECIPES["default"] = profiles.Recipe(2, 16, 2, 32, 1e-3, 5, 60, 20, 20, 20, 60)


_GROKKING = GrokkingOptions(phi=1.6, max_steps=60, comparison_steps=40, limit=4, device="cpu", at_once=1)

_RECALL = MemreasonOptions(arms=("none", "typed"), people=16, questions=48, test=4, epochs=1, device="cpu", at_once=1)
_RECALL_SIZES: dict[str, dict[str, Any]] = {
    "ToyOptions": {"dev": 4, "layers": 2, "width": 16, "heads": 2},
    "TrainOptions": {"looks": 1, "mix": 4, "save_every": 4},
    "EvaluateOptions": {"max_new_tokens": 24, "limit": 2, "temperature": 1.0, "grammar": True},
    "SteerOptions": {"max_new_tokens": 24, "limit": 2},
    "AttentionOptions": {"draws": 2, "limit": 4},
    "NeuronsOptions": {"draws": 20, "limit": 4},
}


def _planted_texts() -> None:
    planted.save(Path("model"))
    _texts()


def _texts() -> None:
    texts = [f"Question: Ann has 2 apples and gets {n % 4} more. 2 + 3 = 5 so make 5" for n in range(40)]
    texts = [f"{text} {' '.join(text.split()[n % 7 :])}" for n, text in enumerate(texts)]
    Path("texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


_DESCRIBING = ExpgenOptions(model="model", data=("texts.jsonl",), k=3, device="cpu")


def _planted_atlas() -> None:
    """A model that adds, with all that the instruments ask it, but for steps: it has no line end of its own."""
    _planted_chain()
    _texts()


def _small_atlas() -> None:
    """The atlas asks as the pipelines of the instruments do: with these sizes, then."""
    _fewer(making, **_CHAIN_SIZES)
    making._USUAL = _CHAIN
    making._DESCRIBED = _DESCRIBING


_ATLAS = AtlasOptions(
    model="model", data="problems.jsonl", shots=1, limit=6, task="none", text="none", texts=("texts.jsonl",),
    steps="problems.jsonl", selectivity="none", device="cpu",
)  # fmt: skip


def _small_demo() -> None:
    """The demo at the sizes of its parts, or less: these are killed by themselves, too."""
    for part in PIPELINES.values():
        part.shrink()
    _small_atlas()
    asked = {"cot-neurons": _CHAIN, "grokking": _GROKKING, "memreason": _RECALL, "expgen": _DESCRIBING, "atlas": _ATLAS}
    demo.SIZES |= {name: each.model_dump(include=each.model_fields_set - {"device"}) for name, each in asked.items()}
    demo.SIZES["cot-neurons"] |= {"draws": 1, "task": "none", "text": "none"}
    demo.SIZES["grokking"] |= {"max_steps": 20, "comparison_steps": 0}
    demo.SIZES["memreason"] |= {"arms": ("typed",)}


def _nothing() -> None:
    pass


PIPELINES = {
    "cot-neurons": Pipeline(chain.cot_neurons, _CHAIN, _planted_chain, partial(_fewer, chain, **_CHAIN_SIZES), 15),
    "grokking": Pipeline(grokking.grokking, _GROKKING, _nothing, _small_worlds, 9),
    "memreason": Pipeline(recall.memreason, _RECALL, _nothing, partial(_fewer, recall, **_RECALL_SIZES), 11),
    "expgen": Pipeline(describing.expgen, _DESCRIBING, _planted_texts, _coarse_figures, 6),
}
"""One per instrument."""

EVERY = PIPELINES | {
    "atlas": Pipeline(atlas.atlas, _ATLAS, _planted_atlas, _small_atlas, 10),
    "demo": Pipeline(demo.demo, DemoOptions(device="cpu", at_once=1), _planted_atlas, _small_demo, 37),
}
