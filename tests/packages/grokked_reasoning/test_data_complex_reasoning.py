"""Worlds of complex reasoning against a plain re-computation, and the hard test against breadth-first search."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pytest
from grokked_reasoning.worlds import hard
from grokked_reasoning.worlds.attributes import Pairs, Values

from tests.packages.grokked_reasoning import plain_worlds as plain
from tests.packages.grokked_reasoning.data_runs import refused, written

SMALL = {
    "task": "complex-reasoning", "entities": 24, "relations": 3, "values": 4, "share": 0.08, "ood": 0.25,
    "held_out": 0.2,
}  # fmt: skip
Comparisons = dict[tuple[str, str, str], int]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("complex"), **SMALL)


def _parsed(prompt: str, answer: str) -> tuple[tuple[str, str, str], int]:
    """`<attr_0><q><e_1><mask><e_2></q>`, `<a><attr_0_2></a>` -> attribute and entities, label."""
    attribute, pair = prompt.split("<q>")
    one, other = pair.removesuffix("</q>").split("<mask>")
    said = answer.removeprefix("<a>").removesuffix("</a>")
    assert said.startswith(attribute[:-1] + "_")
    return (attribute, one, other), plain.number(said)


def _train(folder: Path, kind: str) -> dict[str, str]:
    rows = [row for row in plain.rows(folder, "train") if row["type"] == kind]
    found = {row["input_text"]: plain.answer(row) for row in rows}
    assert len(found) == len(rows)
    return found


def _told(found: dict[str, str]) -> Comparisons:
    return dict(_parsed(*row) for row in found.items())


def test_ood_facts_are_told_nowhere_in_training(world: Path):
    known = plain.facts(world)
    atomic = {
        ood: {
            f"<q>{e}{a}<mask></q>": f"<a>{f.tail}</a>"
            for e, has in known.items()
            for a, f in has.items()
            if f.ood == ood
        }
        for ood in (False, True)
    }
    assert _train(world, "id_atomic") == atomic[False] == plain.by_type(world)["id_atomic"]
    assert plain.by_type(world)["ood_atomic"] == atomic[True]
    assert not atomic[True].keys() & {row["input_text"] for row in plain.rows(world, "train")}
    assert {row["type"] for row in plain.rows(world, "train")} == {
        "id_atomic", "train_inferred_topleft", "train_inferred_cross",
    }  # fmt: skip


def test_every_comparison_is_on_its_side(world: Path):
    every, test = plain.compared(plain.facts(world)), plain.by_type(world)
    sides: dict[str, Comparisons] = {}
    for pair, (label, side) in every.items():
        sides.setdefault(side, {})[pair] = label
    inside, cross = (_told(_train(world, f"train_inferred_{name}")) for name in ("topleft", "cross"))
    held = _told(test["test_inferred_iid"])
    assert inside.items() <= sides["id"].items()
    assert cross.items() <= sides["mixed"].items()
    assert held.items() <= sides["id"].items()
    assert {(a, other, one) for a, one, other in held} == held.keys()
    assert not held.keys() & inside.keys()
    assert _told(test["test_inferred_ood"]) == sides["ood"]
    assert len(inside) == round(0.08 * (len(sides["id"]) - len(held)))
    assert len(cross) == round(0.08 * len(sides["mixed"]))
    assert _told(test["train_inferred_topleft"]) == inside
    assert _told(test["train_inferred_cross"]) == cross


@pytest.mark.parametrize(
    ("seed", "given"),
    [
        *((seed, {}) for seed in range(5)),
        *((seed, {"share": 0.05}) for seed in range(5)),
        *((seed, {"share": 0.1, "values": 8, "ood": 0.5}) for seed in range(5)),
        *((seed, {"values": 2, "entities": 30, "share": 0.03}) for seed in range(5)),
        (0, {"values": 3, "entities": 60, "share": 0.01}),
    ],
)
def test_the_hard_test_is_what_breadth_first_search_finds(tmp_path: Path, seed: int, given: dict[str, float]):
    folder = written(tmp_path, **(SMALL | given), seed=seed)
    inside, cross = (_told(_train(folder, f"train_inferred_{name}")) for name in ("topleft", "cross"))
    expected = plain.hard(plain.facts(folder), cross, inside)
    found = _told(plain.by_type(folder)["test_hard"])
    assert found.items() <= expected.items()
    assert orjson.loads((folder / "world.json").read_bytes())["counts"]["hard"] == len(expected)
    assert Counter(found.values()) == {said: min(50, n) for said, n in Counter(expected.values()).items()}


@pytest.mark.parametrize("seed", range(40))
def test_both_graphs_are_what_breadth_first_search_finds(seed: int):
    """Any set of comparisons, also ones that are too few or too many to leave a hard test."""
    random.seed(seed)
    count, ood = random.randint(6, 16), random.randint(2, 4)
    values = np.random.default_rng(seed).integers(random.randint(1, 6), size=(2, count))
    entities = np.stack([np.random.default_rng((seed, a)).permutation(count) for a in range(2)])
    world = Values(values, np.sort(entities[:, ood:]), np.sort(entities[:, :ood]), 6)
    cross, inside, asked = Pairs.between(world.id, world.ood), Pairs.within(world.id), Pairs.within(world.ood)
    kept = [
        pairs.find(np.flatnonzero(np.random.default_rng((seed, i)).random(2 * pairs.unordered) < random.random() ** 2))
        for i, pairs in enumerate((cross, inside))
    ]
    every = asked.find(asked.all())
    low, high = hard.bounds(world, hard.at_least(world, kept[0]))
    solvable = low[every[0], every[1]] >= high[every[0], every[2]]
    easy = hard.reached(world, every, [hard.at_least(world, each) for each in kept])
    known = {
        f"<e_{e}>": {f"<attr_{a}>": plain.Fact(f"<{values[a, e]}>", e in world.ood[a]) for a in range(2)}
        for e in range(count)
    }
    told = [
        {
            (f"<attr_{a}>", f"<e_{x}>", f"<e_{y}>"): 1 + int(np.sign(values[a, x] - values[a, y]))
            for a, x, y in zip(*each, strict=True)
        }
        for each in kept
    ]
    for a, one, other, forth, easily in zip(*every, solvable, easy, strict=True):
        attribute, first, second = f"<attr_{a}>", f"<e_{one}>", f"<e_{other}>"
        ids = [e for e in known if not known[e][attribute].ood]
        ordered = {
            (attribute, x, y): plain.label(known[x][attribute], known[y][attribute]) for x in ids for y in ids if x != y
        }
        assert forth == (second in plain.reachable(plain.at_least(told[0] | ordered, attribute), first))
        assert easily == (second in plain.reachable(plain.at_least(told[0] | told[1], attribute), first))


def test_what_is_decided_is_true(world: Path):
    known = plain.facts(world)
    for (attribute, one, other), said in _told(plain.by_type(world)["test_hard"]).items():
        assert said == plain.label(known[one][attribute], known[other][attribute])


def test_valid_shows_id_and_ood_apart(world: Path):
    test, valid = plain.by_type(world), plain.rows(world, "valid")
    assert Counter(row["type"] for row in valid) == {
        kind: len(test[kind]) for kind in ("test_inferred_iid", "test_inferred_ood", "test_hard")
    }


def test_a_smaller_share_trains_on_a_part_of_a_larger_one(tmp_path: Path, world: Path):
    less = written(tmp_path, **(SMALL | {"share": 0.05}))
    for kind in ("train_inferred_topleft", "train_inferred_cross"):
        few, many = list(_train(less, kind)), list(_train(world, kind))
        assert 0 < len(few) < len(many)
        assert many[: len(few)] == few


def test_the_seed_decides_everything(tmp_path: Path, world: Path):
    same, other = written(tmp_path / "same", **SMALL), written(tmp_path / "other", **SMALL, seed=7)
    for each in world.iterdir():
        assert (same / each.name).read_bytes() == each.read_bytes()
        if each.name != "vocab.json":
            assert (other / each.name).read_bytes() != each.read_bytes()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"share": 1.0}, "test_hard would be empty: no pair of OOD entities takes ID facts and comparisons both"),
        ({"ood": 0.01}, "makes 0 OOD entities per attribute and 24 ID ones: comparing takes two of each; raise --ood"),
        ({"phi": 3.0}, "--phi is an option of --task composition, comparison, profiles; complex-reasoning has no use"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path: Path, given: dict[str, float], told: str):
    assert told in refused(tmp_path, **(SMALL | given))
