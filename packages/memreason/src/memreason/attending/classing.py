"""Classes and steps of tokens as numbers; the shuffles that are the null; what attention spread evenly would give."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from memreason.attending.drawn import Drawn


class Classed(NamedTuple):
    """Numbers of a trace's tokens, -1 for none. `labels`: classes, first as they are, then shuffled; `segments`: 0 the
    question, 1 and on the steps with their blocks, and last the answer."""

    labels: Int[np.ndarray, "draws T"]
    segments: Int[np.ndarray, " T"]


class Evenly(NamedTuple):
    """What attention would give if each token looked alike at all tokens it may see, itself among them.

    `mass`: summed over the queries of a class; `entropy`: its entropy in nats, likewise; `queries`: how many.
    """

    mass: Float[np.ndarray, "draws C C"]
    entropy: Float[np.ndarray, " C"]
    queries: Int[np.ndarray, " C"]


def classed(each: Drawn, names: Sequence[str], draws: int, seed: int) -> Classed:
    """The numbers of one trace. Tokens after the question change places with each other, all but the end of the text;
    the shuffles are a function of seed and item."""
    numbers = {name: number for number, name in enumerate(names)}
    as_is = np.array([numbers.get(name, -1) for name in each.classes])
    body = np.flatnonzero((as_is >= 0) & (np.arange(len(as_is)) >= each.rendered.prompt))
    random = np.random.default_rng(list(hashlib.sha256(f"{seed}/{each.item.id}".encode()).digest()))
    labels = np.tile(as_is, (draws + 1, 1))
    for row in labels[1:]:
        row[body] = as_is[random.permutation(body)]
    return Classed(labels, _segments(each))


def evenly(each: Classed, classes: int) -> Evenly:
    """Of one trace; sums of several add up."""
    shown = one_hot(each.labels, classes)
    seen = np.arange(1, each.labels.shape[1] + 1)
    mass = np.einsum("dtq,dtk->dqk", shown, shown.cumsum(axis=1) / seen[:, None])
    return Evenly(mass, np.log(seen) @ shown[0], shown[0].sum(axis=0).astype(int))


def evenly_by_step(each: Classed) -> Float[np.ndarray, "S S"]:
    """Of one trace, summed over the queries of a step."""
    shown = one_hot(each.segments, each.segments.max() + 1)
    return shown.T @ (shown.cumsum(axis=0) / np.arange(1, len(shown) + 1)[:, None])


def one_hot(numbers: Int[np.ndarray, "..."], count: int) -> Float[np.ndarray, "... count"]:
    """1 at the number, all 0 for -1."""
    return (numbers[..., None] == np.arange(count)).astype(float)


def _segments(each: Drawn) -> Int[np.ndarray, " T"]:
    found = np.full(len(each.classes), -1)
    last = len(each.item.trace.steps) + 1
    for mark in each.rendered.marks:
        if mark.part != "end":
            found[mark.start : mark.end] = 0 if mark.part == "question" else (mark.step + 1 if mark.step >= 0 else last)
    return found
