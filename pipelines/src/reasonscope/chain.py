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

from reasonscope.options import CotNeuronsOptions

_DIRECT = "answer_only"


def cot_neurons(options: CotNeuronsOptions) -> None:
    """Run every stage of the package as a child of one run; the last is the report."""
    with runkit.stage("pipelines.cot-neurons", options) as run:
        if run.finished:
            return
        base = options.model_dump(include={"experiment", "seed", "resume"})
        found = _Stages(run, options, base, base | options.model_dump(include={"model", "revision", "device", "dtype"}))
        page = found.report()
        run.log(f"open {page / 'report.html'}")


class _Stages:
    """The stages in their order; each is run when it is first asked for, and keeps the folder of its run."""

    def __init__(
        self, run: runkit.StageRun, options: CotNeuronsOptions, base: dict[str, Any], model: dict[str, Any]
    ) -> None:
        self._run, self._options, self._base, self._model = run, options, base, model

    def report(self) -> Path:
        """All of it."""
        options, model = self._options, self._model
        prompts(PromptsOptions(**self._base, shots=options.shots))
        items = self._answers(options.data, options.prompt, options.limit, split=options.split)
        variants = {
            name: self._answers(options.data, name, options.variant_limit, split=options.split)
            for name in (*options.variants, _DIRECT)
        }
        task = self._task()
        neurons = discover(DiscoverOptions(**model, items=str(items)))
        labels = label(
            LabelOptions(
                **model,
                **options.model_dump(include={"judge", "base_url", "key_variable"}),
                neurons=str(neurons),
                items=str(items),
            )
        )
        compared = tuple(str(variants[name]) for name in options.variants)
        found = pl.read_parquet(labels / "tables" / "labels.parquet") if labels else pl.DataFrame()
        active = activity(ActivityOptions(**model, items=compared, labels=str(labels))) if len(found) else None
        return report(
            ReportOptions(
                **self._base,
                items=(str(items), *map(str, variants.values())),
                neurons=str(neurons),
                labels=str(labels),
                activity=str(active) if active else None,
                ablation=tuple(map(str, self._ablations(items, labels, task, self._ablated(found)))),
                attribution=str(attribute(AttributeOptions(**model, items=str(items), against=str(variants[_DIRECT])))),
                stability=str(stability(StabilityOptions(**self._base, neurons=(str(neurons),)))),
            )
        )

    def _answers(self, data: str, prompt: str, limit: int, **more: Any) -> Path:
        return infer(
            InferOptions(**self._model, data=data, prompt=prompt, shots=self._options.shots, limit=limit, **more)
        )

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
            self._run.log(f"not ablated, for no neuron's label held up on other chains: {', '.join(missing)}")
        return tuple(concept for concept in self._options.concepts if concept in known)

    def _ablations(self, items: Path, labels: Path | None, task: str | None, concepts: tuple[str, ...]) -> list[Path]:
        """Neurons held at their mean, with every kind of control; then turned against themselves, dose by dose."""
        options = self._options
        if not concepts:
            return []
        shared: dict[str, Any] = dict(
            **self._model, items=str(items), labels=str(labels), concepts=concepts, draws=options.draws,
            task=task, limit=options.ablation_limit, text=None if options.text == "none" else options.text,
        )  # fmt: skip
        held = ablate(AblateOptions(**shared, mode="mean"))
        turned = ablate(AblateOptions(**shared, mode="scale", amounts=options.doses, controls=("random",)))
        return [held, turned]
