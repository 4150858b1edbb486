"""Which concepts a description in words is about, and which concepts' tokens stand where a neuron fires most."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import yaml
from cot_neurons.labels.concepts import shipped
from cot_neurons.labels.vocabulary import plural
from cot_neurons.portraits import readable
from expgen.explaining.phrases import parse, words_in
from expgen.store import SIGNS, Exemplars
from jaxtyping import Int
from runkit.tables import NEURON_KEY

_HALF = 0.5


class Known(NamedTuple):
    """Concepts and decoys (random sets of tokens): the words that say one, and the token ids that show one."""

    words: dict[str, frozenset[str]]
    tokens: dict[str, list[int]]
    decoys: dict[str, frozenset[str]]

    @classmethod
    def of(cls, coverage: pl.DataFrame | None) -> "Known":
        """From the table `coverage` of label: the concepts it went by; without it the shipped ones, without tokens."""
        if coverage is None:
            return cls({each.name: _words(each.name, each.tokens) for each in shipped()}, {}, {})
        entries, ids = (_listed(coverage.filter(~pl.col("decoy")), each) for each in ("entry", "token_ids"))
        random = _listed(coverage.filter("decoy"), "spellings")
        return cls(
            {name: _words(name, each) for name, each in entries.items()},
            {name: sorted(set(each)) for name, each in ids.items() if each},
            {name: frozenset(_plain(readable(word)) for word in each) - {""} for name, each in random.items()},
        )


def about(description: str, words: Mapping[str, frozenset[str]]) -> list[str]:
    """The concepts that a description names where it says what the neuron fires on; what it promotes is left out,
    because labels say that already."""
    phrase = parse(description)
    named = words_in(description)
    if phrase is not None:
        named = {_plain(token) for token in (*phrase.on, *phrase.weakly, *phrase.of)} | words_in(phrase.kind)
    return [concept for concept, own in words.items() if not named.isdisjoint(own)]


def at_peaks(exemplars: Exemplars, tokens: Mapping[str, list[int]]) -> pl.DataFrame:
    """By neuron and polarity the concepts whose tokens stand at the peaks (`peaks`), and right after them (`next`), of
    at least half of its train exemplars. Only of those that have exemplars."""
    ids, ends = _text(exemplars)
    first = np.concatenate([[0], ends[:-1]])
    layers = [int(layer) for layer in exemplars.about["sources"].get("mlp_post", {"layers": {}})["layers"]]
    found = [_of_layer(exemplars, layer, ids, first, ends, tokens) for layer in layers]
    return pl.concat(found).select(*NEURON_KEY, "peaks", "next") if found else _nothing()


def _of_layer(
    exemplars: Exemplars,
    layer: int,
    ids: Int[np.ndarray, " tokens"],
    first: Int[np.ndarray, " texts"],
    ends: Int[np.ndarray, " texts"],
    tokens: Mapping[str, list[int]],
) -> pl.DataFrame:
    block = exemplars.block(f"mlp_post.{layer}", "train")
    fires = block.values.float().numpy() * np.array(list(SIGNS.values())).reshape(2, 1, 1) > 0
    rows = np.where(fires, block.rows.numpy(), 0)
    at = first[rows] + np.where(fires, block.positions.numpy(), 0)
    after = np.minimum(at + 1, len(ids) - 1)
    pole, neuron = np.nonzero(fires.any(axis=2))
    columns = {}
    for name, places, there in (("peaks", at, fires), ("next", after, fires & (at + 1 < ends[rows]))):
        most = {
            concept: ((np.isin(ids[places], own) & there).sum(axis=2) >= _HALF * fires.sum(axis=2))[pole, neuron]
            for concept, own in tokens.items()
        }
        columns[name] = [[concept for concept in most if most[concept][i]] for i in range(len(neuron))]
    return pl.DataFrame(
        {
            "model": exemplars.model,
            "layer": layer,
            "neuron": neuron,
            "polarity": np.array(list(SIGNS))[pole],
            **columns,
        },
        schema=_nothing().schema,
    )


def _nothing() -> pl.DataFrame:
    lists = {"peaks": pl.List(pl.String), "next": pl.List(pl.String)}
    return pl.DataFrame(
        schema={"model": pl.String, "layer": pl.Int64, "neuron": pl.Int64, "polarity": pl.String, **lists}
    )


def _text(exemplars: Exemplars) -> tuple[Int[np.ndarray, " tokens"], Int[np.ndarray, " texts"]]:
    """Ids of the whole train split, one sequence after the other, and where each ends."""
    count = len(exemplars.sequences.filter(split="train"))
    each = [exemplars.sequence("train", number).ids for number in range(count)]
    return np.concatenate([np.empty(0, int), *each]), np.cumsum([len(ids) for ids in each])


def _listed(coverage: pl.DataFrame, column: str) -> dict[str, list[Any]]:
    grouped = coverage.group_by("concept", maintain_order=True).agg(pl.col(column).explode().drop_nulls())
    return dict(grouped.iter_rows())


@cache
def _more() -> dict[str, list[str]]:
    return yaml.safe_load(files("reasonscope.neurons").joinpath("words.yaml").read_text("utf-8"))


def _words(concept: str, entries: Iterable[str]) -> frozenset[str]:
    plain = {_plain(each) for each in (*entries, *_more().get(concept, ()))}
    return frozenset(plain | {plural(each) for each in plain}) - {""}


def _plain(token: str) -> str:
    return token.strip().casefold()
