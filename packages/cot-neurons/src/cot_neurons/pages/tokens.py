"""Chains token by token: each token in the colour of its kind, with the concepts whose neurons were active below it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from runkit.page.markup import Child, Markup, element, joined, prose, table
from runkit.page.numbers import signed

from cot_neurons import chains
from cot_neurons.pages import contexts
from cot_neurons.pages.contexts import on_one_line
from cot_neurons.pages.evidence import POLE, Evidence
from cot_neurons.portraits import name
from cot_neurons.tags import TAGS

_CHAINS = 3
_LONGEST = 160
_VALIDATED = "concepts whose neurons (labels that held up on other chains)"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def tokens(evidence: Evidence) -> list[Markup]:
    """Some chains, with a legend."""
    topics = evidence.held
    names = topics["topic"].unique().sort().to_list()[: len(LETTERS)]
    letters = dict(zip(names, LETTERS, strict=False))
    rows = _chosen(evidence)
    active = contexts.of_rows(evidence.activations, rows, topics).join(topics, on=POLE, how="left")
    which = f"{evidence.topic}s whose neurons" if len(topics) == len(evidence.topics) else _VALIDATED
    lead = (
        f"Below each token: the {which} were among the strongest of their layer and sign when it was chosen, with how "
        "many. The table under a chain names them."
    )
    kinds = element("p", "Tokens: ", ((element("span", tag, class_=f"t {tag}"), " ") for tag in TAGS), class_="legend")
    marks = element("p", ((_mark(letters, topic, 0), f" {topic} ") for topic in names), class_="legend")
    items = {row["row"]: row for row in evidence.watched.iter_rows(named=True)}
    return [prose(lead), kinds, marks, *(_chain(evidence, row, items.get(row), active, letters) for row in rows)]


def _chosen(evidence: Evidence) -> list[int]:
    """A right chain to look at, then a wrong one, then others, in order."""
    items, steps = evidence.watched, evidence.steps
    every = steps["row"].unique().sort().to_list()
    wrong = items.filter(~pl.col("correct_strict"))["row"].to_list()
    first = chains.example(steps, items) if len(items) else steps
    rows = [first["row"][0], *wrong[:1], *every]
    return list(dict.fromkeys(rows))[:_CHAINS]


def _chain(
    evidence: Evidence, row: int, item: dict[str, Any] | None, active: pl.DataFrame, letters: dict[str, str]
) -> Markup:
    steps = evidence.steps.filter(row=row).sort("step").head(_LONGEST)
    here = active.filter(row=row).sort(pl.col("score").abs(), descending=True)
    by_step: dict[int, list[dict[str, Any]]] = {}
    for each in here.iter_rows(named=True):
        by_step.setdefault(each["step"], []).append(each)
    told = [_token(step, by_step.get(step["step"], []), letters) for step in steps.iter_rows(named=True)]
    rows = list(_rows(steps, by_step))
    inside = table(["step", "token", "kind", "active neurons"], rows, id=f"chain-{row}")
    names = element("details", element("summary", "Token by token"), inside)
    return element("article", *_asked(row, item), element("p", told, class_="tokens"), names, class_="prompt")


def _asked(row: int, item: dict[str, Any] | None) -> Iterator[Markup]:
    if item is None:
        yield element("h3", f"Item {row}")
        return
    verdict = "right" if item["correct_strict"] else "wrong"
    yield element("h3", f"Item {row} ", element("small", f"{verdict}; reference answer {item['gold']}"))
    yield element("p", item["question"], class_="asked")


def _token(step: dict[str, Any], active: Sequence[dict[str, Any]], letters: dict[str, str]) -> Markup:
    counts = Counter(each["topic"] for each in active if each["topic"] in letters)
    marks = [_mark(letters, topic, counts[topic]) for topic in letters if topic in counts]
    said = _names(active)
    word = element("span", on_one_line(step["token"]), class_=f"t {step['tag']}")
    ends = element("br") if step["token"].endswith("\n") else None
    below = element("span", marks, class_="marks")
    return joined([element("span", word, below, class_="tok", title=said or None), ends])


def _mark(letters: dict[str, str], topic: str, number: int) -> Markup:
    letter = letters[topic]
    return element("i", letter, number if number > 1 else None, class_=f"m c{LETTERS.index(letter) % 10}")


def _rows(steps: pl.DataFrame, active: dict[int, list[dict[str, Any]]]) -> Iterator[list[Child]]:
    for step in steps.iter_rows(named=True):
        yield [
            step["step"],
            element("code", on_one_line(step["token"])),
            step["tag"],
            _names(active.get(step["step"], [])),
        ]


def _names(active: Sequence[dict[str, Any]]) -> str:
    return "; ".join(f"{name(each).replace('-', '−')} {each['topic']} {signed(each['score'], 1)}" for each in active)
