"""Stage `describe`: what each feature responds to, in words, in several candidate descriptions.

After Choi et al. (2024), section 3: an explainer is shown the sequences that a feature is strongest in, its activating
tokens marked. Or nobody is asked, and hypotheses about tokens and their contexts are held against those sequences.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import runkit
from llmkit import Exchanges
from llmkit.exchanges import NAME as EXCHANGES
from runkit import files
from runkit.progress import track

from expgen import store, tables
from expgen.explaining import Candidate, Explainer, asked
from expgen.explaining.promoted import Promoted
from expgen.explaining.tokens import Tokens
from expgen.options import DescribeOptions
from expgen.store import Exemplars, Feature

_PIECE = 256  # features that are described again after a kill, at most
_TOLD = 5
_STATUS = ("ok", "silent", "invalid", "error")


def describe(options: DescribeOptions) -> Path | None:
    """Run the stage: table `descriptions`; with an explainer that is asked, exchanges.jsonl too.

    Returns its folder; None for a dry run, which is no run.

    Raises:
        UsageError: no such features, exemplars of another model than --model, an explainer that cannot be.
        LLMKitError: the explainer cannot be asked, or the budget is spent; what was answered is kept.
    """
    if options.dry_run:
        print(_forecast(options))
        return None
    with runkit.stage("expgen.describe", options) as run:
        if not run.finished:
            _describe(run, options)
        return run.folder


def _describe(run: runkit.StageRun, options: DescribeOptions) -> None:
    exemplars = Exemplars.open(options.exemplars)
    features = store.chosen(exemplars, options)
    exchanges = Exchanges(run.folder / "parts" / EXCHANGES, run.trace)
    explainer = _explainer(options, exemplars, exchanges)
    parts = run.parts("descriptions")
    pieces = [features[at : at + _PIECE] for at in range(0, len(features), _PIECE)]
    for key, piece in track(parts.missing(enumerate(pieces)), "features, in hundreds", len(pieces)):
        parts.write(key, _table(_candidates(exemplars, explainer, piece), explainer.name))
    run.gather("descriptions", parts, tables.Descriptions)
    if content := exchanges.content():
        files.write_bytes(run.folder / EXCHANGES, content)
        run.artifact(EXCHANGES)
    _conclude(run, pl.read_parquet(run.folder / "tables" / "descriptions.parquet"))


def _explainer(options: DescribeOptions, exemplars: Exemplars, exchanges: Exchanges) -> Explainer:
    if options.explainer == Tokens.name:
        return Tokens(exemplars, options.shown, options.candidates, Promoted.open(options, exemplars))
    return asked.Asked(options, exemplars, exchanges)


def _candidates(exemplars: Exemplars, explainer: Explainer, features: Sequence[Feature]) -> list[Candidate]:
    """What the explainer says of the features that fire, and that the others are silent, in their order."""
    fires = [each for each in features if exemplars.excerpts(each, "train", ranks=[0])]
    said: dict[Feature, list[Candidate]] = {each: [] for each in features}
    for candidate in explainer.describe(fires):
        said[candidate.feature].append(candidate)
    return [one for each in features for one in said[each] or [_silent(each)]]


def _silent(feature: Feature) -> Candidate:
    sign = "above" if feature.sign > 0 else "below"
    return Candidate(feature, 0, None, "silent", f"no sequence of the train split takes it {sign} 0", [])


def _table(candidates: Sequence[Candidate], explainer: str) -> pl.DataFrame:
    rows = [
        {**each.feature._asdict(), **each._asdict(), "candidate": each.number, "explainer": explainer}
        for each in candidates
    ]
    return pl.DataFrame(rows, tables.columns(tables.Descriptions))


def _forecast(options: DescribeOptions) -> str:
    exemplars = Exemplars.open(options.exemplars)
    features = store.chosen(exemplars, options)
    fires = [each for each in features if exemplars.excerpts(each, "train", ranks=[0])]
    told = f"{options.explainer}: {len(fires)} of {len(features)} features fire and are to be described"
    if options.explainer == Tokens.name:
        return f"{told}; nobody is asked"
    return f"{told}; {asked.forecast(options, exemplars, fires)}"


def _conclude(run: runkit.StageRun, table: pl.DataFrame) -> None:
    """Counts as metrics, and some descriptions for the person at the terminal."""
    first = table.filter(candidate=0)
    counts = dict(table["status"].value_counts().iter_rows())
    run.metrics({"features": len(first), "described": table.filter(status="ok").select(tables.FEATURE_KEY).n_unique()})
    run.metrics(
        {"silent": counts.get("silent", 0), "invalid": counts.get("invalid", 0), "errors": counts.get("error", 0)}
    )
    if lost := counts.get("error", 0):
        run.log(
            f"{lost} descriptions are missing because asking failed (status error): --fresh asks for them again, and "
            "takes the answers there are from the cache"
        )
    some = first.filter(status="ok")
    some = some.gather_every(max(1, len(some) // _TOLD)).head(_TOLD)
    told = {f"{s}.{layer}.{n}{p}": said for s, layer, n, p, said in
            some.select("source", "layer", "neuron", "polarity", "description").iter_rows()}  # fmt: skip
    run.summary({name: counts[name] for name in _STATUS if name in counts} | told)
