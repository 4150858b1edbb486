"""The runs of an atlas: those that are named, and for the others the stages that make them, as children of its run.

Options are those that the pipelines of the instruments use, so that what they have made is found again.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import runkit
from cot_neurons.ablate import ablate
from cot_neurons.ablation import controls
from cot_neurons.attribute import attribute
from cot_neurons.discover import discover
from cot_neurons.infer import infer
from cot_neurons.label import label
from cot_neurons.options import AblateOptions, AttributeOptions, DiscoverOptions, InferOptions, LabelOptions
from expgen.describe import describe
from expgen.exemplars import exemplars
from expgen.options import DescribeOptions, ExemplarsOptions, ScoreOptions
from expgen.score import score
from grokked_reasoning.emerge import emerge
from grokked_reasoning.options import EmergeOptions
from memreason.importing import import_
from memreason.neurons import neurons
from memreason.options import ImportOptions, NeuronsOptions
from runkit import runs
from runkit.errors import DataError, UsageError

from reasonscope.heldout import watched
from reasonscope.neurons.found import NONE, STAGES, Found, made_from, named
from reasonscope.options import AtlasOptions, CotNeuronsOptions, ExpgenOptions
from reasonscope.steps import Steps, shown

_USUAL = CotNeuronsOptions.model_validate({})
_DESCRIBED = ExpgenOptions.model_validate({})
_DIRECT = "answer_only"
_TOO_LONG = "too many for"  # how infer says that a prompt does not fit
_WATCHED = 300  # texts on which emergence is watched
_CHAINS = ("neurons", "ablations", "attribution")
_TELLING = ("labels", "ablations", "attribution", "descriptions", "selectivity", "emergence")
_STAGES = {
    "neurons": 2,
    "labels": 1,
    "ablations": 2,
    "attribution": 2,
    "exemplars": 1,
    "descriptions": 2,
    "selectivity": 2,
}


def left_out(options: AtlasOptions) -> dict[str, str]:
    """The options whose runs are neither named nor made, and why.

    Raises:
        UsageError: fewer than two sources are left, or ablations name a run twice, or none beside others.
    """
    given = {name: getattr(options, name) for name in STAGES}
    _distinct(options.ablations)
    out = {name: "none was asked for" for name, value in given.items() if value in (NONE, (NONE,))}
    if "labels" in out:
        out |= {name: f"--labels none, and no --{name} named" for name in _CHAINS if not given[name]}
    if "descriptions" in out and options.exemplars is None:
        out["exemplars"] = "--descriptions none, and no --exemplars named"
    if options.checkpoints is None and options.emergence is None:
        out["emergence"] = "no --checkpoints"
    if len(left := [name for name in _TELLING if name not in out]) < 2:
        told = f"only --{left[0]} is left" if left else "none is left"
        gone = "; ".join(f"{name}: {out[name]}" for name in _TELLING if name in out)
        raise UsageError(f"an atlas joins at least two sources: {told} ({gone})")
    return dict(sorted(out.items()))


def _distinct(ablations: Sequence[str]) -> None:
    if NONE in ablations and len(ablations) > 1:
        raise UsageError(f"--ablations {','.join(ablations)}: name runs, or {NONE} alone")
    seen: dict[Path, str] = {}
    for text in ablations:
        place = named(text, "ablations")
        if place is None:
            continue
        if before := seen.get(place.resolve()):
            raise UsageError(f"--ablations {before},{text}: the same run twice ({shown(place)}); name each once")
        seen[place.resolve()] = text


class Making:
    """The runs, each made when it is first asked for."""

    def __init__(self, run: runkit.StageRun, options: AtlasOptions) -> None:
        self._run, self._options, self._out = run, options, left_out(options)
        self.why = dict(self._out)
        made = [name for name in STAGES if name not in self._out and not getattr(options, name)]
        self.steps = Steps(run, total=max(1, sum(_STAGES.get(name, 1) for name in made)))
        self._base: dict[str, Any] = options.model_dump(include={"experiment", "seed", "resume"})
        self._placed: dict[str, Any] = self._base | options.model_dump(include={"model", "revision", "device"})
        self._model: dict[str, Any] = self._placed | {"dtype": options.dtype}
        self._asking: dict[str, Any] = options.model_dump(include={"base_url", "key_variable"})

    def found(self) -> Found:
        """All of them."""
        return Found(
            neurons=self._neurons,
            labels=self._labels,
            ablations=self._ablations(),
            attribution=self._given("attribution") or self._attribution(),
            exemplars=self._exemplars,
            descriptions=self._given("descriptions") or self._descriptions(),
            selectivity=self._given("selectivity") or self._selectivity(),
            emergence=self._given("emergence") or self._emergence(),
        )

    def _behind(self, run: Path, option: str) -> Path | None:
        """The run that a named one was made from."""
        found = made_from(run, option)
        if found is None:
            self._leave(option, f"the run that {shown(run)} was made from is gone; --{option} names it")
        return found

    def _leave(self, option: str, why: str) -> None:
        """Leave a run out that could not be found or made; log and page say why."""
        self.why[option] = why
        self._run.log(f"left out: {STAGES[option].replace('.', ' ')} (--{option}): {why}")

    def _given(self, option: str) -> Path | None:
        return named(getattr(self._options, option), option)

    @cached_property
    def _items(self) -> str:
        return self._answers(self._options.data, self._options.prompt, self._options.limit, split=self._options.split)

    @cached_property
    def _neurons(self) -> Path | None:
        if "neurons" in self._out or self._options.neurons:
            return self._given("neurons")
        if labels := self._given("labels"):
            return self._behind(labels, "neurons")
        asked = DiscoverOptions(**self._model, items=self._items, limit=watched(Path(self._items)))
        return self.steps(discover, asked)

    @cached_property
    def _labels(self) -> Path | None:
        if "labels" in self._out or self._options.labels:
            return self._given("labels")
        if self._neurons is None:
            raise UsageError("--neurons none: labels are of neurons that discover found; name --labels, or none")
        asked: dict[str, Any] = {**self._model, **self._asking, "judge": self._options.judge}
        return self.steps(label, LabelOptions(**asked, neurons=str(self._neurons), items=self._items))

    def _ablations(self) -> tuple[Path, ...]:
        options = self._options
        if "ablations" in self._out or options.ablations:
            return tuple(place for each in options.ablations if (place := named(each, "ablations")))
        concepts = self._held()
        if not concepts:
            return ()
        task = None if options.task == NONE else self._answers(
            options.task, options.prompt, _USUAL.ablation_limit, answers="any"
        )  # fmt: skip
        asked = AblateOptions(
            **self._model, items=self._items, labels=str(self._labels), concepts=concepts, task=task, mode="mean",
            draws=_USUAL.draws, limit=_USUAL.ablation_limit, text=None if options.text == NONE else options.text,
        )  # fmt: skip
        return (self.steps(ablate, asked),)

    def _held(self) -> tuple[str, ...]:
        """The concepts of arithmetic that have neurons whose labels hold up."""
        assert self._labels is not None  # without labels nothing is ablated
        labels = pl.read_parquet(self._labels / "tables" / "labels.parquet")
        own = labels.filter(pl.col("concept").is_in(_USUAL.concepts))
        held = set(controls.held(own, AblateOptions.model_fields["min_auroc"].default)["concept"])
        if not held:
            self._leave("ablations", self._unheld(self._labels, own))
        return tuple(concept for concept in _USUAL.concepts if concept in held)

    def _unheld(self, run: Path, labels: pl.DataFrame) -> str:
        """Why none of these labels held up."""
        if labels.is_empty():
            return f"no neuron is labelled {', '.join(_USUAL.concepts)}"
        if labels["auroc"].count():
            return "no neuron’s label held up on other chains"
        if runs.results(run).get("held_out_items") != 0:
            return "no label was tested: other chains write no token of its concept"
        return f"no label was tested, for discover watched every problem and none was held out: {self._more()}"

    def _more(self) -> str:
        """What to ask for so that problems are held out."""
        if self._options.labels or self._neurons is None:
            return "make --labels anew with more problems"
        return f"ask for more problems, --limit above {runs.results(self._neurons)['items']:.0f}"

    def _attribution(self) -> Path | None:
        if "attribution" in self._out:
            return None
        try:
            direct = self._answers(self._options.data, _DIRECT, _USUAL.variant_limit, split=self._options.split)
        except DataError as error:
            if _TOO_LONG not in str(error):
                raise
            self._leave("attribution", f"the prompt {_DIRECT}, which it compares with, does not fit the model with "
                        f"--shots {self._options.shots} (--attribution none leaves it out unasked)")  # fmt: skip
            return None
        return self.steps(attribute, AttributeOptions(**self._model, items=self._items, against=direct))

    @cached_property
    def _exemplars(self) -> Path | None:
        if "exemplars" in self._out or self._options.exemplars:
            return self._given("exemplars")
        if descriptions := self._given("descriptions"):
            return self._behind(descriptions, "exemplars")
        usual: dict[str, Any] = _DESCRIBED.model_dump(include={"limit", "layout", "seq_len", "features", "layers", "k"})
        return self.steps(exemplars, ExemplarsOptions(**self._model, **usual, data=self._options.texts))

    def _descriptions(self) -> Path | None:
        if "descriptions" in self._out:
            return None
        if self._exemplars is None:
            raise UsageError("--exemplars none: descriptions are made from exemplars; name --descriptions, or none")
        kept, options = str(self._exemplars), self._options
        asked: dict[str, Any] = {**self._placed, **self._asking, "exemplars": kept}
        told = self.steps(describe, DescribeOptions(**asked, explainer=options.explainer))
        scoring: dict[str, Any] = {**self._base, **self._asking, "device": options.device, "exemplars": kept}
        return self.steps(score, ScoreOptions(**scoring, descriptions=str(told), simulator=_DESCRIBED.simulator))

    def _selectivity(self) -> Path | None:
        if "selectivity" in self._out:
            return None
        asked = ImportOptions(**self._base, data=(self._options.steps,), form="lines", as_split="test")
        traces = self.steps(import_, asked)
        return self.steps(neurons, NeuronsOptions(**self._model, data=str(traces)))

    def _emergence(self) -> Path | None:
        if "emergence" in self._out or self._options.checkpoints is None:
            return None
        options = self._options
        placed: dict[str, Any] = self._base | options.model_dump(include={"model", "device", "dtype", "checkpoints"})
        asked = EmergeOptions(**placed, data=options.texts[0], limit=_WATCHED)
        return self.steps(emerge, asked)

    def _answers(self, data: str, prompt: str, limit: int, **more: Any) -> str:
        asked = InferOptions(**self._model, data=data, prompt=prompt, shots=self._options.shots, limit=limit, **more)
        return str(self.steps(infer, asked))
