"""Worlds of the composition task against a plain re-computation from their atomic facts."""

from collections import Counter
from pathlib import Path

import orjson
import pytest
from runkit.errors import UsageError

from tests.packages.grokked_reasoning import plain_worlds as plain
from tests.packages.grokked_reasoning.data_runs import refused, written

SMALL = {"entities": 20, "relations": 9, "degree": 6, "ood": 0.2, "held_out": 0.15, "phi": 2.0}
INSIDE = {"ii": "id", "oo": "test_inferred_ood", "io": "test_inferred_io", "oi": "test_inferred_oi"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("composition"), **SMALL)


def _train(folder: Path) -> dict[str, str]:
    found = {row["input_text"]: plain.answer(row) for row in plain.rows(folder, "train")}
    assert len(found) == len(plain.rows(folder, "train"))
    return found


def _length(prompt: str) -> int:
    return prompt.count("<r_")


def _inferred(folder: Path, hops: int = 2) -> list[str]:
    return [prompt for prompt in _train(folder) if _length(prompt) == hops]


def test_the_vocabulary_is_that_of_the_original(world: Path):
    names = [f"<e_{i}>" for i in range(20)] + [f"<r_{i}>" for i in range(9)]
    assert orjson.loads((world / "vocab.json").read_bytes()) == [
        *names,
        "<mask>",
        "<sep>",
        "<a>",
        "</a>",
        "<q>",
        "</q>",
    ]


def test_every_entity_has_as_many_facts_as_asked_with_different_relations(world: Path):
    graph = plain.facts(world)
    assert list(graph) == [f"<e_{i}>" for i in range(20)]
    assert {len(facts) for facts in graph.values()} == {6}
    assert sum(fact.ood for facts in graph.values() for fact in facts.values()) == round(0.2 * 120)
    assert {relation for facts in graph.values() for relation in facts} == {f"<r_{i}>" for i in range(9)}


def test_training_rows_are_all_atomic_facts_and_id_chains_of_the_asked_number(world: Path):
    graph, train = plain.facts(world), _train(world)
    atomic = {head + relation: f"{fact.tail}</a>" for head, has in graph.items() for relation, fact in has.items()}
    assert {prompt: said for prompt, said in train.items() if _length(prompt) == 1} == atomic
    inferred = _inferred(world)
    assert len(inferred) == round(2.0 * 96)
    every = plain.chains(graph, 2)
    assert {every[prompt][1] for prompt in inferred} == {"ii"}
    assert all(train[prompt] == f"{every[prompt][0]}</a>" for prompt in inferred)
    assert all(set(row) == {"input_text", "target_text"} for row in plain.rows(world, "train"))


def test_every_chain_is_on_its_side(world: Path):
    every, test, train = plain.chains(plain.facts(world), 2), plain.by_type(world), _train(world)
    sides = {kind: {p: f"{end}</a>" for p, (end, s) in every.items() if s == side} for side, kind in INSIDE.items()}
    for kind in ("test_inferred_ood", "test_inferred_io", "test_inferred_oi"):
        assert test[kind] == sides[kind], kind
    assert test["test_inferred_iid"].items() <= sides["id"].items()
    assert not test["test_inferred_iid"].keys() & train.keys()
    assert test["train_inferred"].keys() == set(_inferred(world))
    told = orjson.loads((world / "world.json").read_bytes())
    assert told["counts"]["pool"] + len(test["test_inferred_iid"]) == len(sides["id"])
    assert told["counts"]["chains"] == len(every) == 20 * 36
    held = len(test["test_inferred_iid"]) / len(sides["id"])
    assert abs(held - 0.15) < 5 * (0.15 * 0.85 / len(sides["id"])) ** 0.5


def test_atomic_probes_are_the_facts_of_each_side(world: Path):
    graph, test = plain.facts(world), plain.by_type(world)
    for kind, ood in (("id_atomic", False), ("ood_atomic", True)):
        assert test[kind] == {
            h + r: f"{f.tail}</a>" for h, has in graph.items() for r, f in has.items() if f.ood == ood
        }


def test_valid_shows_id_and_ood_apart(world: Path):
    test, valid = plain.by_type(world), plain.rows(world, "valid")
    for kind in ("test_inferred_iid", "test_inferred_ood"):
        assert {row["input_text"] for row in valid if row["type"] == kind} == test[kind].keys()
    assert {row["type"] for row in valid} == {"test_inferred_iid", "test_inferred_ood"}


def test_probes_are_capped_by_type(tmp_path: Path, world: Path):
    test, whole = plain.by_type(written(tmp_path, **SMALL, probes=5)), plain.by_type(world)
    assert {len(found) for found in test.values()} == {5}
    assert all(found.items() <= whole[kind].items() for kind, found in test.items())
    assert _train(tmp_path) == _train(world)


def test_a_smaller_phi_trains_on_a_part_of_a_larger_one(tmp_path: Path, world: Path):
    less = written(tmp_path / "less", **(SMALL | {"phi": 0.7}))
    more = written(tmp_path / "more", **(SMALL | {"phi": 3.1}))
    parts = [_inferred(folder) for folder in (less, world, more)]
    assert [len(part) for part in parts] == [round(phi * 96) for phi in (0.7, 2.0, 3.1)]
    assert parts[1][: len(parts[0])] == parts[0]
    assert parts[2][: len(parts[1])] == parts[1]
    assert (less / "facts.parquet").read_bytes() == (more / "facts.parquet").read_bytes()
    tests = [{k: v for k, v in plain.by_type(each).items() if k != "train_inferred"} for each in (less, more)]
    assert tests[0] == tests[1]


def test_the_training_rows_that_are_looked_at_are_the_same_for_every_phi(tmp_path: Path):
    few = [written(tmp_path / f"{phi}", **(SMALL | {"phi": phi}), probes=9) for phi in (0.7, 3.1)]
    assert few[0].joinpath("test.json").read_bytes() == few[1].joinpath("test.json").read_bytes()


def test_the_pool_is_used_up_by_the_largest_phi(tmp_path: Path, world: Path):
    pool = orjson.loads((world / "world.json").read_bytes())["counts"]["pool"]
    with pytest.raises(UsageError, match=r"--phi 9 asks for 864 .* at most --phi ([\d.]+)") as error:
        written(tmp_path / "a", **(SMALL | {"phi": 9.0}))
    most = float(str(error.value).rpartition(" ")[2])
    full = _inferred(written(tmp_path / "b", **(SMALL | {"phi": most})))
    assert 0 <= pool - len(full) <= 1


def test_the_seed_decides_everything(tmp_path: Path, world: Path):
    same, other = written(tmp_path / "same", **SMALL), written(tmp_path / "other", **SMALL, seed=1)
    names = sorted(each.name for each in world.iterdir())
    assert names == ["facts.parquet", "test.json", "train.json", "valid.json", "vocab.json", "world.json"]
    assert all((same / name).read_bytes() == (world / name).read_bytes() for name in names)
    assert plain.facts(other) != plain.facts(world)
    ood = [{h + r for h, has in plain.facts(each).items() for r, f in has.items() if f.ood} for each in (world, other)]
    assert ood[0] != ood[1]


def test_three_hops(tmp_path: Path):
    folder = written(tmp_path, **SMALL, hops=3, identity=True)
    graph, train, test = plain.facts(folder), _train(folder), plain.by_type(folder)
    every, held = plain.chains(graph, 3), test["test_inferred_iid"]

    def touches_the_test(prompt: str) -> bool:
        head, *relations = prompt.replace("><", ">|<").split("|")
        bridge = graph[head][relations[0]].tail
        return head + "".join(relations[:2]) in held or bridge + "".join(relations[1:]) in held

    inferred = _inferred(folder, 3)
    assert len(inferred) == len(_inferred(folder, 2)) == round(2.0 * 96)
    assert all(every[prompt] == (train[prompt].removesuffix("</a>"), "iii") for prompt in inferred)
    assert not any(touches_the_test(prompt) for prompt in inferred)
    assert test["test_inferred_ood_3hop"] == {p: f"{end}</a>" for p, (end, sides) in every.items() if sides == "ooo"}
    assert {p: every[p][1] for p in test["test_inferred_iid_3hop"]} == dict.fromkeys(
        test["test_inferred_iid_3hop"], "iii"
    )
    assert not test["test_inferred_iid_3hop"].keys() & train.keys()
    counts = orjson.loads((folder / "world.json").read_bytes())["counts"]
    free = [p for p, (_, sides) in every.items() if sides == "iii" and not touches_the_test(p)]
    assert counts["pool_3hop"] + counts["test_inferred_iid_3hop"] == len(free)
    assert {p: said for p, said in train.items() if _length(p) == 0} == {h: f"{h}</a>" for h in graph}


def test_three_hops_change_nothing_about_two(tmp_path: Path, world: Path):
    longer = written(tmp_path, **SMALL, hops=3)
    assert _inferred(longer, 2) == _inferred(world, 2)
    assert plain.by_type(longer).items() >= plain.by_type(world).items()


def test_three_hop_subsets_are_nested_too(tmp_path: Path):
    less = _inferred(written(tmp_path / "a", **(SMALL | {"phi": 0.5}), hops=3), 3)
    more = _inferred(written(tmp_path / "b", **SMALL, hops=3), 3)
    assert more[: len(less)] == less


def test_entities_of_two_tokens(tmp_path: Path):
    folder = written(tmp_path, **SMALL, entity_tokens=2, multiplicity=4)
    graph = plain.facts(folder)
    names = [tuple(head.replace("><", ">|<").split("|")) for head in graph]
    assert len(set(names)) == 20
    assert orjson.loads((folder / "vocab.json").read_bytes())[:10] == [
        f"<{p}_{i}>" for p in ("first", "last") for i in range(5)
    ]
    assert all(first.startswith("<first_") and last.startswith("<last_") for first, last in names)
    every = plain.chains(graph, 2)
    assert all(every[p] == (_train(folder)[p].removesuffix("</a>"), "ii") for p in _inferred(folder))
    numbered = [(f"<e_{i}>", name) for i, name in enumerate(graph)]
    plainly = plain.facts(written(tmp_path / "one", **SMALL))
    renamed = dict(numbered)
    assert {renamed[h]: {r: renamed[f.tail] for r, f in has.items()} for h, has in plainly.items()} == {
        h: {r: f.tail for r, f in has.items()} for h, has in graph.items()
    }


def test_chance_is_the_most_common_answer(world: Path):
    told = orjson.loads((world / "world.json").read_bytes())["chance"]
    for kind, found in plain.by_type(world).items():
        assert told[kind] == pytest.approx(max(Counter(found.values()).values()) / len(found))


def test_linked_heads_and_answers_are_counted(world: Path):
    told = orjson.loads((world / "world.json").read_bytes())["audit"]["head_and_answer_linked_in_training"]
    linked = {(prompt.partition("<r")[0], said) for prompt, said in _train(world).items()}
    test = plain.by_type(world)
    assert told == {
        kind: sum((prompt.partition("<r")[0], said) in linked for prompt, said in test[kind].items()) for kind in told
    }
    assert set(told) == {f"test_inferred_{side}" for side in ("iid", "ood", "io", "oi")}
    assert told["test_inferred_iid"] > 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"degree": 12}, "--relations 9 is less than --degree 12"),
        ({"ood": 0.005}, "no chain of 2 OOD facts in this graph: raise --ood 0.005"),
        ({"ood": 0.12, "entities": 8, "hops": 3, "degree": 2}, "OOD facts in this graph: raise --ood"),
        ({"held_out": 1e-9}, "no chain of 2 ID facts is held out for the test: raise --held-out 1e-09"),
        (
            {"entity_tokens": 2, "multiplicity": 10},
            "2 first and 2 last names make 4 entities, not 20: at most --multiplicity 4",
        ),
        ({"multiplicity": 3}, "--multiplicity is for entities of two tokens: give --entity-tokens 2 too"),
        ({"values": 3}, "--values is an option of --task comparison, complex-reasoning; composition has no use for it"),
        ({"share": 0.5}, "--share is an option of --task complex-reasoning; composition has no use for it"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path: Path, given: dict[str, float], told: str):
    assert told in refused(tmp_path, **(SMALL | given))
