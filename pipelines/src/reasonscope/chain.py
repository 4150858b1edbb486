"""Pipeline `cot-neurons`: the paper's argument from the prompt to the ablation, and a page that tells it.

Rai & Yao (ACL 2024): which parts of a prompt matter, which neurons write the parts of a chain of thought, whether their
activity goes with accuracy, and what is lost without them.
"""

from pathlib import Path
from typing import Any

import polars as pl
import runkit
from cot_neurons.ablate import ablate
from cot_neurons.ablation import controls
from cot_neurons.activity import activity
from cot_neurons.attribute import attribute
from cot_neurons.discover import discover
from cot_neurons.infer import infer
from cot_neurons.label import label
from cot_neurons.options import (
    AblateOptions,
    ActivityOptions,
    AttributeOptions,
    DiscoverOptions,
    InferOptions,
    LabelOptions,
    PromptsOptions,
    ReportOptions,
    StabilityOptions,
)
from cot_neurons.prompts import prompts
from cot_neurons.report import report
from cot_neurons.stability import stability

from reasonscope.heldout import watched
from reasonscope.options import CotNeuronsOptions
from reasonscope.steps import Steps, found, intact

_DIRECT = "answer_only"
_LABELS = ("neurons", "labelled", "labels_validated", "auroc")
_OTHERS = 11  # stages beside the answers to prompt variants and to the other task


def cot_neurons(options: CotNeuronsOptions) -> Path:
    """Run every stage of the package as a child of one run; its page is the report's. Returns the run's folder."""
    with runkit.stage("pipelines.cot-neurons", options) as run:
        return intact(run.folder) if run.finished else _Stages(run, options).concluded()


class _Stages:
    """The stages in their order."""

    def __init__(self, run: runkit.StageRun, options: CotNeuronsOptions) -> None:
        self._run, self._options = run, options
        self._base: dict[str, Any] = options.model_dump(include={"experiment", "seed", "resume"})
        self._model = self._base | options.model_dump(include={"model", "revision", "device", "dtype"})
        self._steps = Steps(run, total=len(options.variants) + (options.task != "none") + _OTHERS)

    def concluded(self) -> Path:
        """All of it."""
        steps, options, model = self._steps, self._options, self._model
        steps(prompts, PromptsOptions(**self._base, shots=options.shots))
        items = self._answers(options.data, options.prompt, options.limit, split=options.split)
        variants = {
            name: self._answers(options.data, name, options.variant_limit, split=options.split)
            for name in (*options.variants, _DIRECT)
        }
        task = self._task()
        neurons = steps(discover, DiscoverOptions(**model, items=str(items), limit=watched(items)))
        asking: dict[str, Any] = options.model_dump(include={"judge", "base_url", "key_variable"})
        labels = steps(label, LabelOptions(**model, **asking, neurons=str(neurons), items=str(items)))
        known = pl.read_parquet(labels / "tables" / "labels.parquet")
        compared = tuple(str(variants[name]) for name in options.variants)
        active = steps(activity, ActivityOptions(**model, items=compared, labels=str(labels))) if len(known) else None
        ablated = self._ablations(items, labels, task, self._ablated(known))
        counted = steps(attribute, AttributeOptions(**model, items=str(items), against=str(variants[_DIRECT])))
        again = self._again(neurons)
        page = steps(
            report,
            ReportOptions(
                **self._base,
                items=(str(items), *map(str, variants.values())),
                neurons=str(neurons),
                labels=str(labels),
                activity=str(active) if active else None,
                ablation=tuple(map(str, ablated)),
                attribution=str(counted),
                stability=str(again) if again else None,
            ),
        )
        headline = found(items, "correct_strict_rate") | found(
            labels, "neurons", "labelled", "labels_validated", "auroc"
        )
        shown = [neurons / "figures" / "chain.png", *(each / "figures" / "ablation.png" for each in ablated[:1])]
        return steps.conclude(page, headline, shown)

    def _again(self, neurons: Path) -> Path | None:
        """Whether other items give the same neurons, where more than one was watched."""
        if found(neurons, "items")["items"] < 2:
            self._run.log("stability is left out: one item was watched, and comparing draws takes two at least")
            return None
        return self._steps(stability, StabilityOptions(**self._base, neurons=(str(neurons),)))

    def _answers(self, data: str, prompt: str, limit: int, **more: Any) -> Path:
        asked = InferOptions(**self._model, data=data, prompt=prompt, shots=self._options.shots, limit=limit, **more)
        return self._steps(infer, asked)

    def _task(self) -> str | None:
        """Answers to the other task, which may be words."""
        data = self._options.task
        if data == "none":
            return None
        return str(self._answers(data, self._options.prompt, self._options.ablation_limit, answers="any"))

    def _ablated(self, labels: pl.DataFrame) -> tuple[str, ...]:
        """Of the concepts to ablate those that have neurons whose labels hold up; the others are told."""
        held = controls.held(labels, AblateOptions.model_fields["min_auroc"].default) if len(labels) else labels
        known = set(held["concept"]) if len(held) else set()
        if missing := [concept for concept in self._options.concepts if concept not in known]:
            self._run.log(f"not ablated, for want of a label that was tested and held up: {', '.join(missing)}")
        return tuple(concept for concept in self._options.concepts if concept in known)

    def _ablations(self, items: Path, labels: Path, task: str | None, concepts: tuple[str, ...]) -> list[Path]:
        """Neurons held at their mean, with every kind of control; then turned against themselves, dose by dose."""
        options = self._options
        if not concepts:
            return []
        shared: dict[str, Any] = dict(
            **self._model, items=str(items), labels=str(labels), concepts=concepts, draws=options.draws,
            task=task, limit=options.ablation_limit, text=None if options.text == "none" else options.text,
        )  # fmt: skip
        held = AblateOptions(**shared, mode="mean")
        turned = AblateOptions(**shared, mode="scale", amounts=options.doses, controls=("random",))
        return [self._steps(ablate, held), self._steps(ablate, turned)]
