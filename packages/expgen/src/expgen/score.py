"""Stage `score`: how well do the descriptions predict what the features do where no explainer has looked?

Candidates are chosen on one split and reported on another, beside null descriptions. Choi et al. (2024), section 4;
detection and fuzzing: Paulo et al. (2024).
"""

from pathlib import Path

import polars as pl
import runkit
from runkit.progress import track

from expgen import tables
from expgen.options import ScoreOptions
from expgen.scoring import bench, figures
from expgen.scoring.cases import GROUP, Cases
from expgen.scoring.opening import Scorers, forecast
from expgen.scoring.told import metrics, summary


def score(options: ScoreOptions) -> Path | None:
    """Run the stage: tables `scores` and `best`, figure `scores`. Returns its folder; None for a dry run.

    Raises:
        UsageError: the exemplars are of another model or revision than the described ones; no such feature; a scorer
            that needs what is not given.
    """
    if options.dry_run:
        print("\n".join(forecast(Cases.open(options))))
        return None
    with runkit.stage("expgen.score", options) as run:
        if not run.finished:
            _score(run, options)
        return run.folder


def _score(run: runkit.StageRun, options: ScoreOptions) -> None:
    cases, parts = Cases.open(options), run.parts("scores")
    opened = Scorers.open(cases, run)
    for key, group in track(parts.missing(cases.groups()), "groups of features", -(-len(cases.rows) // GROUP)):
        parts.write(key, bench.scored(cases, group, opened.scorers))
    opened.record(run)
    run.gather("scores", parts, tables.Scores)
    scores = pl.read_parquet(run.folder / "tables" / "scores.parquet")
    scorer = options.scorers[0]
    best = bench.best(scores, scorer, options.select, options.report)
    run.table("best", best, tables.Best)
    run.figure("scores", figures.scores(best, scorer, options.report))
    if lost := len(scores.filter(pl.col("status") == "missing", pl.col("n") > 0)):
        run.log(f"{lost} scores are missing because too many answers failed (column reason): --fresh asks again")
    run.metrics(metrics(scores, best, options))
    run.summary(summary(scores, best, options))
