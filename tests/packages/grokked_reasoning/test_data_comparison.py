"""Worlds of the comparison task against a plain re-computation from their atomic facts."""

from collections import Counter
from pathlib import Path

import orjson
import pytest

from tests.packages.grokked_reasoning import plain_worlds as plain
from tests.packages.grokked_reasoning.data_runs import refused, written

SMALL = {"task": "comparison", "entities": 20, "relations": 3, "values": 5, "phi": 6.0, "ood": 0.25, "held_out": 0.2}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("comparison"), **SMALL)


def _comparisons(folder: Path) -> dict[str, dict[str, str]]:
    """All comparisons of the world: side -> prompt -> answer."""
    found: dict[str, dict[str, str]] = {}
    for (attribute, one, other), (label, side) in plain.compared(plain.facts(folder)).items():
        found.setdefault(side, {})[f"{attribute}<q>{one}<mask>{other}"] = f"{attribute[:-1]}_{label}></a>"
    return found


def _train(folder: Path, kind: str) -> dict[str, str]:
    rows = [row for row in plain.rows(folder, "train") if row["type"] == kind]
    found = {row["input_text"]: plain.answer(row) for row in rows}
    assert len(found) == len(rows)
    return found


def _turned(prompt: str) -> str:
    attribute, _, pair = prompt.partition("<q>")
    one, _, other = pair.partition("<mask>")
    return f"{attribute}<q>{other}<mask>{one}"


def test_the_vocabulary_is_that_of_the_original(world: Path):
    labels = [f"<attr_{i}_{label}>" for i in range(3) for label in range(3)]
    names = [f"<e_{i}>" for i in range(20)] + [f"<attr_{i}>" for i in range(3)] + [f"<{i}>" for i in range(5)]
    told = orjson.loads((world / "vocab.json").read_bytes())
    assert told == [*names, "<mask>", "<sep>", "<a>", "</a>", "<q>", "</q>", *labels]


def test_every_attribute_has_ood_entities_of_its_own(world: Path):
    known = plain.facts(world)
    ood = [{e for e, has in known.items() if has[f"<attr_{i}>"].ood} for i in range(3)]
    assert {len(each) for each in ood} == {5}
    assert ood[0] != ood[1] != ood[2] != ood[0]
    assert {fact.tail for has in known.values() for fact in has.values()} == {f"<{i}>" for i in range(5)}


def test_training_rows_are_all_atomic_facts_and_id_comparisons_of_the_asked_number(world: Path):
    known = plain.facts(world)
    for kind, ood in (("id_atomic", False), ("ood_atomic", True)):
        atomic = {e + a: f"{f.tail}</a>" for e, has in known.items() for a, f in has.items() if f.ood == ood}
        assert _train(world, kind) == atomic == plain.by_type(world)[kind]
    inferred = _train(world, "train_inferred")
    assert len(inferred) == round(6.0 * 45)
    assert inferred.items() <= _comparisons(world)["id"].items()
    assert plain.by_type(world)["train_inferred"] == inferred
    assert len(plain.rows(world, "train")) == 60 + 270


def test_every_comparison_is_on_its_side(world: Path):
    sides, test, inferred = _comparisons(world), plain.by_type(world), _train(world, "train_inferred")
    assert test["test_inferred_ood"] == sides["ood"]
    assert test["test_inferred_mixed"] == sides["mixed"]
    held = test["test_inferred_iid"]
    assert held.items() <= sides["id"].items()
    assert {_turned(prompt) for prompt in held} == held.keys()
    assert not held.keys() & inferred.keys()
    assert any(_turned(prompt) not in inferred for prompt in inferred)  # each way round is drawn for itself
    counts = orjson.loads((world / "world.json").read_bytes())["counts"]
    assert counts["pool"] + len(held) == len(sides["id"]) == 3 * 15 * 14


def test_valid_shows_id_and_ood_apart(world: Path):
    test, valid = plain.by_type(world), plain.rows(world, "valid")
    for kind in ("test_inferred_iid", "test_inferred_ood"):
        assert {row["input_text"]: plain.answer(row) for row in valid if row["type"] == kind} == test[kind]
    assert len(valid) == len(test["test_inferred_iid"]) + len(test["test_inferred_ood"])


def test_a_smaller_phi_trains_on_a_part_of_a_larger_one(tmp_path: Path, world: Path):
    less = written(tmp_path, **(SMALL | {"phi": 1.3}))
    few, many = list(_train(less, "train_inferred")), list(_train(world, "train_inferred"))
    assert len(few) == round(1.3 * 45)
    assert many[: len(few)] == few
    assert plain.facts(less) == plain.facts(world)
    tests = [{k: v for k, v in plain.by_type(each).items() if k != "train_inferred"} for each in (less, world)]
    assert tests[0] == tests[1]


def test_the_seed_decides_everything(tmp_path: Path, world: Path):
    same, other = written(tmp_path / "same", **SMALL), written(tmp_path / "other", **SMALL, seed=7)
    for each in world.iterdir():
        assert (same / each.name).read_bytes() == each.read_bytes()
    known = [plain.facts(folder) for folder in (world, other)]
    assert [[f.tail for f in has.values()] for has in known[0].values()] != [
        [f.tail for f in has.values()] for has in known[1].values()
    ]
    assert [[f.ood for f in has.values()] for has in known[0].values()] != [
        [f.ood for f in has.values()] for has in known[1].values()
    ]


def test_chance_is_the_most_common_label_or_value(world: Path):
    told = orjson.loads((world / "world.json").read_bytes())["chance"]
    for kind, found in plain.by_type(world).items():
        said = Counter(plain.number(answer.removesuffix("</a>")) for answer in found.values())
        assert told[kind] == pytest.approx(max(said.values()) / len(found)), kind


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"phi": 20.0}, "--phi 20 asks for 900 inferred training facts (45 ID facts), and this world has"),
        ({"ood": 0.05}, "makes 1 OOD entities per attribute and 19 ID ones: comparing takes two of each; raise --ood"),
        ({"ood": 0.95}, "makes 19 OOD entities per attribute and 1 ID ones: comparing takes two of each; lower --ood"),
        ({"held_out": 1e-9}, "no comparison of ID entities is held out for the test: raise --held-out 1e-09"),
        ({"degree": 3}, "--degree is an option of --task composition; comparison has no use for it"),
        ({"hops": 3}, "--hops is an option of --task composition, profiles; comparison has no use for it"),
        ({"identity": True}, "--identity is an option of --task composition; comparison has no use for it"),
        ({"entity_tokens": 2}, "--entity-tokens is an option of --task composition; comparison has no use for it"),
        ({"share": 0.1}, "--share is an option of --task complex-reasoning; comparison has no use for it"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path: Path, given: dict[str, float], told: str):
    assert told in refused(tmp_path, **(SMALL | given))
