"""Pipeline `expgen`: every neuron of a model described in words, the words scored, and a page to look through."""

from typing import Any

import runkit
from expgen.describe import describe
from expgen.exemplars import exemplars
from expgen.options import DescribeOptions, ExemplarsOptions, ReportOptions, ScoreOptions, VerifyOptions
from expgen.report import report
from expgen.score import score
from expgen.verify import verify

from reasonscope.options import ExpgenOptions


def expgen(options: ExpgenOptions) -> None:
    """Run exemplars, verify, describe, score and report as children of one run."""
    with runkit.stage("pipelines.expgen", options) as run:
        if run.finished:
            return
        base: dict[str, Any] = options.model_dump(include={"experiment", "seed", "resume"})
        model: dict[str, Any] = base | options.model_dump(include={"model", "revision", "device"})
        asking: dict[str, Any] = options.model_dump(include={"base_url", "key_variable"})
        kinds: dict[str, Any] = {"dtype": options.dtype}
        data: dict[str, Any] = options.model_dump(
            include={"data", "split", "limit", "layout", "seq_len", "features", "layers", "k"}
        )
        found = str(exemplars(ExemplarsOptions(**model, **kinds, **data)))
        verify(VerifyOptions(**model, **kinds, exemplars=found))
        told = str(describe(DescribeOptions(**model, **asking, exemplars=found, explainer=options.explainer)))
        scored = score(
            ScoreOptions(
                **base, **asking, descriptions=told, exemplars=found, simulator=options.simulator, device=options.device
            )
        )
        page = report(ReportOptions(**model, exemplars=found, descriptions=told, scores=str(scored)))
        run.log(f"open {page / 'report.html'}")
        run.log(f"expgen serve --model {options.model} --report {page}  (where features fire in a text of yours)")
