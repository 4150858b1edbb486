"""Pipeline `expgen`: every neuron of a model described in words, the words scored, and a page to look through."""

from pathlib import Path
from typing import Any

import runkit
from expgen.describe import describe
from expgen.exemplars import exemplars
from expgen.options import DescribeOptions, ExemplarsOptions, ReportOptions, ScoreOptions, VerifyOptions
from expgen.report import report
from expgen.score import score
from expgen.verify import verify

from reasonscope.options import ExpgenOptions
from reasonscope.steps import Steps, found, intact

_SCORES = ("simulation_best_median", "simulation_other_median", "simulation_lookup_median", "simulation_above_other")


def expgen(options: ExpgenOptions) -> Path:
    """Run every stage as a child of one run; its page is the report's. Returns the run's folder."""
    with runkit.stage("pipelines.expgen", options) as run:
        if run.finished:
            return intact(run.folder)
        steps = Steps(run, total=5)
        base: dict[str, Any] = options.model_dump(include={"experiment", "seed", "resume"})
        model: dict[str, Any] = base | options.model_dump(include={"model", "revision", "device"})
        asking: dict[str, Any] = options.model_dump(include={"base_url", "key_variable"})
        kinds: dict[str, Any] = {"dtype": options.dtype}
        data: dict[str, Any] = options.model_dump(
            include={"data", "split", "limit", "layout", "seq_len", "features", "layers", "k"}
        )
        kept = str(steps(exemplars, ExemplarsOptions(**model, **kinds, **data)))
        steps(verify, VerifyOptions(**model, **kinds, exemplars=kept))
        told = steps(describe, DescribeOptions(**model, **asking, exemplars=kept, explainer=options.explainer))
        scoring = {**base, **asking, "simulator": options.simulator, "device": options.device}
        scored = steps(score, ScoreOptions(**scoring, descriptions=str(told), exemplars=kept))
        page = steps(report, ReportOptions(**model, exemplars=kept, descriptions=str(told), scores=str(scored)))
        run.log(f"expgen serve --model {options.model} --report {page}  (where features fire in a text of yours)")
        headline = found(told, "features", "described") | found(scored, *_SCORES)
        return steps.conclude(page, headline, [scored / "figures" / "scores.png"])
