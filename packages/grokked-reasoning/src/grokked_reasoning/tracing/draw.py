"""Examples of a data folder, for the two tasks that can be traced (paper, sections 3.3 and 4; appendix)."""

import numpy as np
from jaxtyping import Int
from runkit.errors import DataError, UsageError

from grokked_reasoning.dataset import Data, Rows
from grokked_reasoning.tracing import facts
from grokked_reasoning.tracing.examples import Draw, Examples, patch
from grokked_reasoning.tracing.facts import Facts


def examples(data: Data, split: str, limit: int, seed: int) -> Examples:
    """At most `limit` rows of test.json of the type `split`, and corrupted prompts for them; all depends on `seed`.

    Corrupted prompts use ID facts, or OOD facts where the rows are OOD. `data` must have been read with "answer" as
    what is supervised.

    Raises:
        UsageError: another task, no row of that type, or entities of two tokens.
        DataError: a row needs a fact that the data do not tell.
    """
    makers = {"composition": (composition, 3), "comparison": (comparison, 5)}
    if data.world.task not in makers:
        raise UsageError(
            f"--data {data.folder} is a world of {data.world.task}, which cannot be traced: take one of "
            "composition or comparison"
        )
    make, length = makers[data.world.task]
    found = np.flatnonzero(data.test.kinds == split)
    if not len(found):
        there = ", ".join(sorted(set(data.test.kinds.tolist())))
        raise UsageError(f"--split {split}: {data.folder / 'test.json'} has no row of that type; it has {there}")
    known = facts.read(data)
    if len(found) > limit:
        found = np.sort(np.random.default_rng(seed).choice(found, limit, replace=False))
    rows = data.test.take(found)
    if (rows.start != length).any() or (rows.length != 1).any():
        raise UsageError(
            f"--split {split}: prompts of {length} tokens and answers of one can be traced; {data.folder} has others"
        )
    return make(data, rows, known, Draw(seed, found), ood=split.endswith("_ood"))


def composition(data: Data, rows: Rows, known: Facts, draw: Draw, *, ood: bool) -> Examples:
    """h r1 r2 -> t: other heads, first relations and second relations that lead elsewhere (spec: ctc's sets)."""
    prompts, answers = rows.ids[:, :3].astype(np.int64), rows.ids[:, 3].astype(np.int64)
    tail, side = known.all, known.side(ood=ood)
    bridges = _told(data, tail, prompts[:, 0], prompts[:, 1]).astype(np.int64)
    heads = np.flatnonzero((side >= 0).any(axis=1))
    chosen: list[list[int | None]] = [[], [], []]
    for i, ((h, r1, r2), b, t) in enumerate(zip(prompts, bridges, answers, strict=True)):
        own, next_ = np.flatnonzero(side[h] >= 0), np.flatnonzero(side[b] >= 0)
        candidates = (
            heads[_after(tail, tail[heads, r1], r2) != t],
            own[_after(tail, tail[h, own], r2) != t],
            next_[tail[b, next_] != t],
        )
        for site, each in enumerate(candidates):
            chosen[site].append(draw.one(i, site, each))
    sites = ("h", "r1", "r2")
    return Examples(
        prompts=prompts,
        tokens=sites,
        targets={"bridge": bridges[:, None], "second_relation": prompts[:, 2:], "answer": answers[:, None]},
        home={"bridge": 1, "second_relation": 2, "answer": 2},
        inner=("bridge", "second_relation"),
        patches=[patch(site, (p,), prompts, p, chosen[p]) for p, site in enumerate(sites)],
    )


def comparison(data: Data, rows: Rows, known: Facts, draw: Draw, *, ood: bool) -> Examples:
    """a <q> e1 <mask> e2 -> label: another entity that would change the label, or another attribute."""
    prompts, answers = rows.ids[:, :5].astype(np.int64), rows.ids[:, 5].astype(np.int64)
    value, side = known.all, known.side(ood=ood)
    attribute, one, other = prompts[:, 0], prompts[:, 2], prompts[:, 4]
    first, second = (_told(data, value, each, attribute).astype(np.int64) for each in (one, other))
    attributes = np.flatnonzero((value >= 0).any(axis=0))
    chosen: list[list[int | None]] = [[], [], []]
    for i, (a, e1, e2, v1, v2) in enumerate(zip(attribute, one, other, first, second, strict=True)):
        both = (value[e1, attributes] >= 0) & (value[e2, attributes] >= 0)
        candidates = (
            attributes[both & (attributes != a)],
            _others(side[:, a], e1, v1, v2),
            _others(side[:, a], e2, v2, v1),
        )
        for site, each in enumerate(candidates):
            chosen[site].append(draw.one(i, site, each))
    labels = _labels(data, attribute)
    return Examples(
        prompts=prompts,
        tokens=("a", "q", "e1", "mask", "e2"),
        targets={"value1": first[:, None], "value2": second[:, None], "labels": labels, "answer": answers[:, None]}
        | {f"label_{k}": labels[:, k : k + 1] for k in range(3)},
        home={"value1": 2, "value2": 4, "labels": 0, "label_0": 0, "label_1": 0, "label_2": 0, "answer": 4},
        inner=("value1", "value2"),
        patches=[
            patch("a", (0, 1), prompts, 0, chosen[0]),
            patch("e1", (2, 3), prompts, 2, chosen[1]),
            patch("e2", (4,), prompts, 4, chosen[2]),
        ],
    )


def _told(data: Data, tail: Int[np.ndarray, "V V"], head: np.ndarray, relation: np.ndarray) -> np.ndarray:
    """The tails; DataError where a fact is missing."""
    found = tail[head, relation]
    if (found < 0).any():
        i = int(np.flatnonzero(found < 0)[0])
        name = data.vocabulary.strings
        raise DataError(f"{data.folder}: no fact for {name[head[i]]}{name[relation[i]]}, which a row of test.json uses")
    return found


def _after(tail: Int[np.ndarray, "V V"], middle: np.ndarray, relation: int) -> np.ndarray:
    """The tail of the second hop; -1 where one of the hops is not there."""
    return np.where(middle < 0, -1, tail[middle, relation])


def _others(value: Int[np.ndarray, " V"], entity: int, own: int, opposite: int) -> Int[np.ndarray, " n"]:
    """Entities whose value changes the label: the opposite's, or, where both are equal, one next to it.

    Values stand in the vocabulary in their order, so the values next to one are the ids next to it.
    """
    wanted = [opposite] if own != opposite else [opposite - 1, opposite + 1]
    found = np.flatnonzero(np.isin(value, wanted) & (value >= 0))
    return found[found != entity]


def _labels(data: Data, attribute: Int[np.ndarray, " N"]) -> Int[np.ndarray, "N 3"]:
    """The three labels of each attribute: less, equal, greater."""
    names = [data.vocabulary.strings[a].removesuffix(">") for a in attribute]
    return np.array([[data.vocabulary.ids[f"{name}_{k}>"] for k in range(3)] for name in names])
