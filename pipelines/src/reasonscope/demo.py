"""Pipeline `demo`: every instrument at a size that two CPU cores do in minutes, and one page with what each found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import runkit
from runkit.page import document
from runkit.page.document import Section
from runkit.page.markup import Markup, element, joined, prose

from reasonscope.atlas import atlas
from reasonscope.chain import cot_neurons
from reasonscope.crew import Call
from reasonscope.describing import expgen
from reasonscope.grokking import grokking
from reasonscope.options import (
    AtlasOptions,
    CotNeuronsOptions,
    DemoOptions,
    ExpgenOptions,
    GrokkingOptions,
    MemreasonOptions,
)
from reasonscope.recall import memreason
from reasonscope.steps import PAGE, Steps, findings, intact, run_of, shown

SIZES: dict[str, dict[str, Any]] = {
    "grokking": {"phi": 6.5, "loops": 1, "comparison_steps": 0, "limit": 100, "at_once": 1},
    "cot-neurons": {
        "limit": 120, "variants": ("cot", "equation_only"), "variant_limit": 40, "draws": 10, "ablation_limit": 20,
        "doses": (-1.0,), "task": "none", "text": "none",
    },
    "memreason": {"arms": ("none", "typed"), "at_once": 1},
    "expgen": {"limit": 900, "k": 10},
    "atlas": {},
}  # fmt: skip
"""What each pipeline is asked for, where it is not its default."""


class Part(NamedTuple):
    """An instrument's place on the page."""

    key: str
    name: str
    asks: str
    pictures: dict[str, str]


PARTS = (
    Part("cot-neurons", "Which neurons carry a chain of thought", "tiny-reasoner solves word problems.", {
        "chain.png": "Neurons along one chain, token by token: red fires positive, blue negative.",
        "ablation.png": "What is lost when an operator’s neurons are held at their mean.",
    }),
    Part("expgen", "What each neuron means", "Every neuron of tiny-reasoner, described in words that are tested.", {
        "scores.png": "How well descriptions predict activations on texts that no explainer saw.",
    }),
    Part("grokking", "When memorising becomes reasoning", "A transformer learns two-hop facts from scratch.", {
        "curves.png": "Accuracy over steps: training facts first, unseen inferences later.",
        "circuit.png": "Where the answer hangs on the inside, at fitting and at the end.",
    }),
    Part("memreason", "What is remembered, what is inferred", "Small models say of each step which it is.", {
        "accuracy.png": "The typed model’s answers.",
        "steering.png": "What forcing and forbidding a kind of step does.",
    }),
    Part("atlas", "All of it, neuron by neuron", "What the instruments say of the same neurons of tiny-reasoner.", {
        "atlas.png": "Labels against descriptions, and against what recalls and what reasons.",
    }),
)  # fmt: skip


def demo(options: DemoOptions) -> Path:
    """Run the four instruments' pipelines and the atlas as children of one run. Returns the run's folder."""
    with runkit.stage("pipelines.demo", options) as run:
        if run.finished:
            return intact(run.folder)
        steps = Steps(run, total=len(PARTS))
        calls = _calls(options)
        made = steps.together(list(calls.values()), options.at_once)
        folders: dict[str, Path] = dict(zip(calls, made, strict=True))
        folders["atlas"] = steps(atlas, _atlas(options, folders))
        pictures = [folders["cot-neurons"] / "figures" / "chain.png"]
        folder = steps.conclude(page(folders), {}, pictures)
        run.log("compare the runs: uv run reasonscope ui")
        return folder


def page(folders: Mapping[str, Path]) -> str:
    """What the pipelines in these folders found, by their names."""
    return document.page(
        "Reasonscope: a first look",
        "Four instruments on small models, on this machine",
        [_short(each, findings(folders[each.key])) for each in PARTS],
        [Section(each.key, each.name, _section(each, folders[each.key])) for each in PARTS],
    )


_NAMED = {
    "neurons": ("cot-neurons", "cot-neurons.discover"),
    "labels": ("cot-neurons", "cot-neurons.label"),
    "attribution": ("cot-neurons", "cot-neurons.attribute"),
    "exemplars": ("expgen", "expgen.exemplars"),
    "descriptions": ("expgen", "expgen.score"),
}
"""What the atlas asks for, and where it is: pipeline and stage."""


def _calls(options: DemoOptions) -> dict[str, Call]:
    """The longest first, so that two processes end at about the same time."""
    base: dict[str, Any] = options.model_dump(include={"experiment", "seed", "resume"})
    placed = base | {"device": options.device}
    return {
        "grokking": (grokking, GrokkingOptions(**placed, **SIZES["grokking"])),
        "cot-neurons": (cot_neurons, CotNeuronsOptions(**placed, **SIZES["cot-neurons"])),
        "memreason": (memreason, MemreasonOptions(**placed, **SIZES["memreason"])),
        "expgen": (expgen, ExpgenOptions(**placed, **SIZES["expgen"])),
    }


def _atlas(options: DemoOptions, folders: dict[str, Path]) -> AtlasOptions:
    """Of the runs that are there."""
    placed: dict[str, Any] = options.model_dump(include={"experiment", "seed", "resume", "device"})
    named: dict[str, Any] = {
        option: str(run_of(folders[pipeline], stage)[0]) for option, (pipeline, stage) in _NAMED.items()
    }
    ablated = tuple(map(str, run_of(folders["cot-neurons"], "cot-neurons.ablate")))
    return AtlasOptions(**placed, **SIZES["atlas"], **named, ablations=ablated)


def _short(part: Part, said: list[Markup]) -> Markup:
    """An instrument's first finding, with the way to the others."""
    return joined([element("a", part.name, href=f"#{part.key}"), ": ", *said[:1]])


def _section(part: Part, folder: Path) -> list[Markup]:
    pictures = [
        document.picture((folder / "figures" / name).read_bytes(), told)
        for name, told in part.pictures.items()
        if (folder / "figures" / name).is_file()
    ]
    where = prose("The whole page: ", element("code", f"{shown(folder)}/{PAGE}"), ".")
    told = element("ul", (element("li", each) for each in findings(folder)))
    return [prose(part.asks), told, joined(pictures), where]
