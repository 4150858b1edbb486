"""What the cards show, as compact JSON: the page's script draws a card when it comes into view."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import polars as pl
from jaxtyping import Float, Int
from runkit.errors import UsageError
from runkit.page.markup import Markup, element, note
from runkit.progress import track

from expgen.pages.evidence import KEY, NEURON, NULLS, Evidence, joined_labels
from expgen.store import SIGNS, Excerpt, Exemplars, Feature

EXCERPTS = 6
_BEFORE, _AFTER = 20, 10
"""Tokens shown before and after a peak: the page holds thousands of cards."""
_BINS = 32
_LEVELS = "0123456789abcdefghijklmnopqrstuvwxyz"
_NO_WORDS = {
    "invalid": "The explainer gave no usable answer",
    "error": "The explainer gave no answer",
    "silent": "It never fires so",
    None: "Nobody was asked to describe it",
}


def cards(evidence: Evidence, most: int) -> list[Markup]:
    """The cards' data of at most `most` features, and the place where they are drawn."""
    neurons = evidence.neurons
    shown = neurons.head(most)
    data = {
        "total": len(neurons),
        "scorer": evidence.scorer,
        "nulls": list(NULLS.values()),
        "model": evidence.exemplars.model,
        "cards": list(_cards(evidence, shown)),
    }
    told = (
        "Colour is strength relative to the feature’s peak on the train split; the peak of each excerpt is underlined. "
        "+ fires high, − fires low. The histogram (logarithmic) is of the tokens of randomly drawn sequences."
    )
    return [
        note(told),
        element("noscript", element("p", "Cards and search need JavaScript; neurons.sqlite holds the same.")),
        element("div", id="explorer"),
        element("script", embedded(data), type="application/json", id="data"),
    ]


def embedded(data: Any) -> Markup:
    """JSON that can stand in a script element: no `<` in it, so no tag of a text can end the element."""
    return Markup(orjson.dumps(data).decode().replace("<", "\\u003c"))


def _cards(evidence: Evidence, shown: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """In the order of `shown`; made layer by layer, because a layer's activations are read as a whole."""
    tables = _Tables(evidence, shown)
    made: dict[tuple[str, int, int], dict[str, Any]] = {}
    for (source, layer), rows in track(shown.sort(NEURON).group_by("source", "layer", maintain_order=True), "cards"):
        spread = _Spread(evidence.exemplars, f"{source}.{layer}")
        for neuron in rows["neuron"]:
            made[str(source), int(str(layer)), neuron] = tables.card((source, layer, neuron), spread)
    yield from (made[key] for key in shown.iter_rows())


class _Tables:
    """What the tables say of each feature that has a card."""

    def __init__(self, evidence: Evidence, shown: pl.DataFrame) -> None:
        self._evidence = evidence
        self._sides = _by(evidence.sides.join(shown, on=NEURON, how="semi"), KEY[1:])
        self._candidates = _by(evidence.descriptions.join(shown, on=NEURON, how="semi"), KEY[1:])
        self._scores = _by(evidence.scores.filter(kind="candidate").join(shown, on=NEURON, how="semi"), KEY[1:])
        self._best = _by(evidence.best.join(shown, on=NEURON, how="semi"), KEY[1:])
        self._labels = _by(joined_labels(evidence), ["id"])
        self._promoted = _by(evidence.promoted.with_columns(source=pl.lit("mlp_post")), NEURON)

    def card(self, key: tuple[Any, ...], spread: "_Spread") -> dict[str, Any]:
        """One feature, both polarities."""
        source, layer, neuron = key
        told = self._promoted.get(key, [{}])[0]
        return {
            "name": f"{source}.{layer}.{neuron}", "source": source, "layer": layer, "neuron": neuron,
            "histogram": spread.of(neuron), "promotes": told.get("promotes", []),
            "suppresses": told.get("suppresses", []),
            "sides": [self._side((*key, polarity)) for polarity in SIGNS],
        }  # fmt: skip

    def _side(self, key: tuple[Any, ...]) -> dict[str, Any]:
        (row,) = self._sides[key]
        feature = Feature(self._evidence.exemplars.model, *key)
        found = self._evidence.exemplars.excerpts(feature, "train", range(EXCERPTS)) if row["alive"] else []
        return {
            "peak": row["peak"], "sigmas": _rounded(row["sigmas"]), "density": _rounded(row["density"], 4),
            "score": _rounded(row["value"]), "text": row["description"], "missing": _missing(row),
            "scores": [_score(each) for each in self._best.get(key, [])],
            "candidates": self._others(key, row),
            "labels": [[each["concept"], _rounded(each["auroc"])] for each in self._labels.get((row["id"],), [])],
            "excerpts": [_excerpt(each, abs(row["peak"])) for each in found],
        }  # fmt: skip

    def _others(self, key: tuple[Any, ...], row: dict[str, Any]) -> list[list[Any]]:
        """The candidates that were not chosen: text or reason, and what was measured of them."""
        found = []
        for each in self._candidates.get(key, []):
            if each["description"] == row["description"] or each["status"] == "silent":
                continue
            told = [
                f"{score['scorer']} ({score['split']}) {_told(score)}"
                for score in self._scores.get(key, [])
                if score["candidate"] == each["candidate"]
            ]
            found.append([each["description"] or f"({each['status']}: {each['reason']})", ", ".join(told)])
        return found


class _Spread:
    """Histograms of the features of one source and layer."""

    def __init__(self, exemplars: Exemplars, name: str) -> None:
        self._exemplars, self._name = exemplars, name
        try:
            self._values: np.ndarray | None = exemplars.drawn(name, "train")
        except UsageError:  # imported runs have random sequences of each feature's own
            self._values = None

    def of(self, neuron: int) -> list[Any]:
        """Lowest and highest value, and how many tokens lie in each of equal steps between."""
        values = self._own(neuron) if self._values is None else self._values[:, neuron]
        values = values[np.isfinite(values)]
        if not len(values):
            return [0, 0, []]
        counts, edges = np.histogram(values, _BINS)
        return [_rounded(float(edges[0]), 4), _rounded(float(edges[-1]), 4), counts.tolist()]

    def _own(self, neuron: int) -> Float[np.ndarray, " n"]:
        source, _, layer = self._name.rpartition(".")
        found = []
        for polarity, sign in SIGNS.items():
            feature = Feature(self._exemplars.model, source, int(layer), neuron, polarity)
            found += [sign * each.activations[each.text.valid] for each in self._exemplars.random(feature, "train")]
        return np.concatenate(found) if found else np.empty(0)


def _excerpt(found: Excerpt, top: float) -> list[Any]:
    """Pieces of the text around the peak, each piece's strength from 0 to z, the peak's number, and its strength."""
    start, end = max(found.peak - _BEFORE, 0), found.peak + _AFTER + 1
    text = found.text.cut(start, end)
    pieces = pieces_of(text.text, text.spans)
    values = np.nan_to_num(found.activations[start:end])
    shown = [i for i, piece in enumerate(pieces) if piece or i == found.peak - start]
    levels = np.clip(np.round(values / top * (len(_LEVELS) - 1)), 0, len(_LEVELS) - 1).astype(int)
    strength = _rounded(float(found.activations[found.peak]), 4)
    coded = "".join(_LEVELS[levels[i]] for i in shown)
    return [[pieces[i] or "∅" for i in shown], coded, shown.index(found.peak - start), strength, found.sequence]


def pieces_of(text: str, spans: Int[np.ndarray, "T 2"]) -> list[str]:
    """The text cut at its tokens: joined again it is whole, also where tokens share a character or leave some out."""
    found: list[str] = []
    done = 0
    for last in spans[:, 1].tolist():
        found.append(text[done : max(done, last)])
        done = max(done, last)
    return found


def _missing(row: dict[str, Any]) -> str | None:
    """Why there are no words."""
    if not row["alive"]:
        return "It never fires so on the train split."
    if row["description"] is not None:
        return None
    return _NO_WORDS[row["status"]] + (f": {row['reason']}" if row["reason"] else ".")


def _score(row: dict[str, Any]) -> list[Any]:
    return [row["scorer"], *(_rounded(row[name]) for name in ("value", "low", "high", *NULLS, "chosen"))]


def _told(score: dict[str, Any]) -> str:
    return f"{score['value']:.2f}".replace("-", "−") if score["value"] is not None else score["status"]


def _rounded(value: float | None, digits: int = 3) -> float | None:
    """Few digits, so that the page stays small."""
    return None if value is None else float(f"{value:.{digits}g}")


def _by(frame: pl.DataFrame, key: Sequence[str]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Rows by key."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in frame.iter_rows(named=True):
        found.setdefault(tuple(row[name] for name in key), []).append(row)
    return found
