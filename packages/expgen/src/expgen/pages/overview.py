"""The first sections: what was described, how good the words are beside null descriptions, and layer by layer."""

from collections.abc import Iterable, Iterator

import polars as pl
from runkit.page.charts import Dot, dots, scale_of
from runkit.page.frames import median, number
from runkit.page.markup import Child, Markup, cell, element, note, prose, table
from runkit.page.numbers import NONE, count, real, share, span

from expgen.pages.evidence import NULLS, Evidence

_CLOUD = 120
_EACH = 8
_STATUS = {"ok": "described", "silent": "never fires so", "invalid": "no usable answer", "error": "no answer"}
_WHAT = {
    "simulation": "simulation: correlation of the activations predicted from the description with the true ones",
    "detection": "detection: AUROC of telling, from the description, texts on which the feature fires from others",
    "fuzzing": "fuzzing: AUROC of telling rightly marked tokens from wrongly marked ones",
    "intervention": "intervention: standardised effect on the described tokens of writing the feature’s direction",
}


def short(evidence: Evidence) -> Iterator[str]:
    """The findings in a sentence each."""
    sides = evidence.sides
    alive = int(sides["alive"].sum())
    yield (
        f"{count(len(sides) // 2, 'feature')} in {count(len(evidence.exemplars.names()), 'layer')}; each may fire high "
        f"(+) or low (−): {alive:,} of {len(sides):,} ever do."
    )
    if evidence.has("describe"):
        yield f"{count(int((sides['status'] == 'ok').sum()), 'of them has', 'of them have')} a description."
    scored = sides.drop_nulls("value")
    if len(scored):
        nulls = {name: median(scored[column]) for column, name in NULLS.items()}
        lines = [f"{name} {real(value)}" for name, value in nulls.items() if value is not None]
        null = f" (null descriptions: {', '.join(lines)})" if lines else ""
        middle = real(median(scored["value"]))
        yield f"Median score by {evidence.scorer} of {len(scored):,} descriptions: {middle}{null}."
        yield f"{share(_above(scored))} of these beat every null description of the same feature."


def made_of(evidence: Evidence) -> list[Markup]:
    """The texts, and what became of every feature."""
    told = evidence.exemplars.sequences.group_by("split", maintain_order=True).agg(pl.len(), pl.sum("tokens"))
    splits = table(["split", "sequences", "tokens"], ([a, f"{b:,}", f"{c:,}"] for a, b, c in told.iter_rows()))
    lead = (
        "Exemplars, statistics and descriptions are from the train split; descriptions are chosen and scored on others."
    )
    parts = [prose(lead), splits]
    if evidence.has("describe"):
        parts += [_outcomes(evidence.sides), *_reasons(evidence.descriptions)]
    return parts


def quality(evidence: Evidence) -> list[Markup]:
    """Scores of the chosen descriptions beside the nulls', by scorer; then the best and the worst."""
    parts: list[Markup] = []
    for scorer, best in evidence.best.group_by("scorer", maintain_order=True):
        rows = list(_against(best))
        head = ["description", "score", "median", "middle half", "features"]
        parts += [element("h3", *scorer), dots(rows, head, scale_of(rows), id=f"scores-{scorer[0]}")]
        parts += [note(_WHAT[str(scorer[0])], ".")]
    scored = evidence.sides.drop_nulls("value").sort("value", descending=True, maintain_order=True)
    explained = (
        f"Diamonds are medians, lines the middle half, dots up to {_CLOUD} features. Null descriptions are scored on "
        "the same texts."
    )
    half = min(_EACH, -(-len(scored) // 2))
    ends = {"Best described": scored.head(half), "Worst described": scored.tail(min(half, len(scored) // 2)).reverse()}
    told = [part for title, rows in ends.items() if len(rows) for part in _listed(title, rows)]
    return [*parts, note(explained), *told]


def layers(evidence: Evidence) -> list[Markup]:
    """A row per source and layer."""
    head = ["layer", "features", "fire high", "fire low", "median density", "median peak, σ", "described"]
    scored = evidence.scorer is not None
    head += [f"median {evidence.scorer}", "beat the nulls"] if scored else []
    groups = evidence.sides.group_by("source", "layer", maintain_order=True)
    rows = [_layer(f"{source} {layer}", frame, scored=scored) for (source, layer), frame in groups]
    explained = "Density: share of tokens above a tenth of the peak. Peak: standard deviations from the mean."
    return [table(head, rows, id="by-layer"), note(explained)]


def _layer(name: str, frame: pl.DataFrame, *, scored: bool) -> list[Child]:
    alive = frame.filter("alive")
    poles = [share(number(frame.filter(polarity=polarity)["alive"].mean())) for polarity in "+-"]
    told = [f"{len(frame) // 2:,}", *poles, share(median(alive["density"])), real(median(alive["sigmas"]), 1)]
    told.append(f"{int((frame['status'] == 'ok').sum()):,}")
    values = frame.drop_nulls("value")
    told += [real(median(values["value"])), share(_above(values))] if scored else []
    return [name, *(cell(each, class_="num") for each in told)]


def _outcomes(sides: pl.DataFrame) -> Markup:
    told = sides.group_by("status", "polarity").len().sort("status", nulls_last=True)
    rows = []
    for status in [*_STATUS, None]:
        counts = [told.filter(pl.col("status").eq_missing(status), polarity=polarity)["len"].sum() for polarity in "+-"]
        if any(counts):
            rows.append([_STATUS.get(status or "", "not asked for"), *(f"{each:,}" for each in counts)])
    return table(["outcome", "fires high", "fires low"], rows, id="outcomes")


def _reasons(descriptions: pl.DataFrame) -> list[Markup]:
    """Why answers are missing, the most frequent reasons first."""
    missing = descriptions.filter(pl.col("status").is_in(["invalid", "error"]))
    told = missing.group_by("reason").len().sort("len", "reason", descending=[True, False]).head(_EACH)
    rows = ([reason or NONE, f"{number:,}"] for reason, number in told.iter_rows())
    return [table(["why an answer is missing", "answers"], rows, class_="long", id="missing")] if len(told) else []


def _against(best: pl.DataFrame) -> Iterator[Dot]:
    for column, name in {"value": "chosen", **NULLS}.items():
        values = best[column].drop_nulls()
        if len(values):
            low, middle, high = (number(values.quantile(q, "linear")) for q in (0.25, 0.5, 0.75))
            cloud = values.sort().gather_every(-(-len(values) // _CLOUD)).to_list()
            cells = [real(middle), span(low, high), f"{len(values):,}"]
            yield Dot(name, middle, low, high, cells, cloud)


def _listed(title: str, rows: pl.DataFrame) -> list[Markup]:
    nulls = {column: name for column, name in NULLS.items() if rows[column].count()}
    head = ["feature", "description", "score", "95 %", *(f"null: {name}" for name in nulls.values())]
    lines = [
        [link(row["name"]), row["description"], *(cell(each, class_="num") for each in _numbers(row, nulls))]
        for row in rows.iter_rows(named=True)
    ]
    return [element("h3", title), table(head, lines, class_="told")]


def _numbers(row: dict[str, float | None], nulls: Iterable[str]) -> list[str]:
    return [real(row["value"]), span(row["score_low"], row["score_high"]), *(real(row[column]) for column in nulls)]


def link(name: str) -> Markup:
    """A feature's name that leads to its card."""
    return element("a", element("code", name), href=f"#q={name}")


def _above(scored: pl.DataFrame) -> float | None:
    """Share of scores above all null descriptions' of the same feature."""
    return number(scored.select((pl.col("value") > pl.max_horizontal(*NULLS)).fill_null(True).mean()).item())
