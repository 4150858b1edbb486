"""The neurons of which most is known, as a table to search, filter and sort."""

from collections.abc import Iterator
from typing import Any

import polars as pl
from cot_neurons.portraits import name, readable
from runkit.page.markup import Child, Markup, cell, element, filters, note, prose, table
from runkit.page.numbers import NONE, count, real, signed

STYLE = """
#atlas .words { min-width: 17rem; }
#atlas .chips code { display: inline-block; white-space: pre; padding: 0 0.3em; margin: 0 0.2em 0.15em 0;
  background: var(--tint); border-radius: 3px; }
"""
_MOST = 2000
_TOKENS = 5
_TOLD = ["concepts", "ablated_for", "attribution_kind", "description", "selective", "known_from", "hits"]
_HEAD = {
    "neuron": "", "layer": "", "label": "concepts", "AUROC": "auroc", "promotes": "promotes",
    "description": "description", "score": "score", "about": "about", "after peaks": "next",
"steps": "selective", "memory": "memory_auroc", "ablated": "ablation_change", "logp": "logp",
    "known from": "known_from",
}  # fmt: skip
"""Titles of columns, and the column of the table without which one is left out."""


def listing(neurons: pl.DataFrame) -> list[Markup]:
    """Rows by how much is known: labels first, then how well they are described."""
    ranked = neurons.with_columns(known=pl.sum_horizontal(pl.col(each).is_not_null() for each in _TOLD)).sort(
        pl.col("concepts").is_not_null(), "known", pl.col("score").fill_null(-1), "hits",
        descending=True, nulls_last=True, maintain_order=True,
    )  # fmt: skip
    shown = ranked.head(_MOST)
    titles = [title for title, column in _HEAD.items() if not column or shown[column].count()]
    rows = [[each for title, each in _cells(row) if title in titles] for row in shown.iter_rows(named=True)]
    chosen = {
        "layer": "every layer",
        "label": "every label",
        "about": "whatever it is about",
        "steps": "any kind of step",
    }
    rest = "" if len(shown) == len(neurons) else "; the table neurons.parquet has them all"
    lead = f"{count(len(shown), 'row')} of {len(neurons):,}, those of which most is known{rest}."
    by = filters({title: told for title, told in chosen.items() if title in titles})
    explained = (
        "L3N17−: layer 3, neuron 17, firing low. AUROC: of its label on other chains. About, after peaks: concepts of "
        "its description, and of the tokens right after its exemplars’ peaks. Steps: the kind it is higher in; memory: "
        "AUROC of memory over reasoning steps. Ablated: change of its concept’s log-odds. Logp: nats by which it "
        "raises the tokens it raises most. Known from: step of training from which it is like itself in the end."
    )
    return [prose(lead), table(titles, rows, id="atlas", data_filters=by), note(explained)]


def _cells(row: dict[str, Any]) -> Iterator[tuple[str, Child]]:
    """Title and cell."""
    tokens = [readable(each) for each in (row["promotes"] or [])[:_TOKENS]]
    numbers = {"AUROC": real(row["auroc"]), "score": real(row["score"]), "memory": real(row["memory_auroc"]),
               "ablated": signed(row["ablation_change"]), "logp": signed(row["logp"]),
               "known from": NONE if row["known_from"] is None else f"{row['known_from']:,}"}  # fmt: skip
    words: dict[str, Child] = {
        "neuron": element("code", name(row).replace("-", "−")), "layer": row["layer"],
        "label": _listed(row["concepts"]),
        "promotes": element("span", (element("code", each) for each in tokens), class_="chips"),
        "description": cell(row["description"] or NONE, class_="words"),
        "about": _listed(row["about"]), "after peaks": _listed(row["next"]),
        "steps": {"": "neither", None: NONE}.get(row["selective"], row["selective"]),
    }  # fmt: skip
    for title in _HEAD:
        yield title, cell(numbers[title], class_="num") if title in numbers else words[title]


def _listed(names: list[str] | None) -> str:
    return ", ".join(names or []) or NONE
