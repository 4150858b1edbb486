"""What is traced, and how prompts are corrupted, against the sets of spec 5.2 and 5.3 in plain Python."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from grokked_reasoning import dataset
from grokked_reasoning.dataset import Data
from grokked_reasoning.tracing import draw
from grokked_reasoning.tracing.examples import Examples
from runkit.errors import DataError, UsageError

from tests.packages.grokked_reasoning import circuit_subjects, data_runs, small_world

ALL = 10_000


def words(data: Data, ids: np.ndarray) -> list[str]:
    return [data.vocabulary.strings[i] for i in ids]


def corrupted(examples: Examples, data: Data, site: str) -> dict[int, list[str]]:
    (patch,) = [each for each in examples.patches if each.site == site]
    return {int(row): words(data, prompt) for row, prompt in zip(patch.rows, patch.prompts, strict=True)}


def facts_by_split(folder: Path) -> tuple[dict, dict, dict]:
    """All facts, ID facts, OOD facts of facts.parquet."""
    rows = pl.read_parquet(folder / "facts.parquet").rows()
    every = {(h, r): t for h, r, t, _ in rows}
    return every, *({(h, r): t for h, r, t, s in rows if s == side} for side in ("id", "ood"))


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few facts per entity, so that hops are missing and some candidate sets are empty."""
    place = tmp_path_factory.mktemp("sparse") / "data"
    return data_runs.written(
        place, task="composition", entities=14, relations=6, degree=2, phi=1, ood=0.3, held_out=0.2, seed=3
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compared") / "data"
    return data_runs.written(place, task="comparison", entities=16, relations=3, values=5, phi=2, ood=0.3, held_out=0.3)


@pytest.mark.parametrize("split", ["train_inferred", "test_inferred_iid", "test_inferred_ood"])
def test_composition(sparse, split):
    data = dataset.read(sparse)
    examples = draw.examples(data, split, ALL, seed=0)
    every, inside, outside = facts_by_split(sparse)
    side = outside if split.endswith("ood") else inside
    left_out = dict.fromkeys(("h", "r1", "r2"), 0)
    given = {site: corrupted(examples, data, site) for site in left_out}
    assert len(examples) == sum(data.test.kinds == split)
    for i, prompt in enumerate(examples.prompts):
        h, r1, r2 = words(data, prompt)
        b = every[h, r1]
        t = every[b, r2]
        assert words(data, [examples.targets[name][i, 0] for name in ("bridge", "second_relation", "answer")]) == [
            b,
            r2,
            t,
        ]
        allowed = {
            "h": {(x, r1, r2) for x, _ in side if every.get((every.get((x, r1)), r2)) != t},
            "r1": {(h, x, r2) for y, x in side if y == h and every.get((every[h, x], r2)) != t},
            "r2": {(h, r1, x) for y, x in side if y == b and every[b, x] != t},
        }
        for site, candidates in allowed.items():
            assert (i in given[site]) == bool(candidates)
            left_out[site] += not candidates
            assert not candidates or tuple(given[site][i]) in candidates
    assert split != "train_inferred" or left_out["r2"]  # empty sets do occur here
    assert [patch.positions for patch in examples.patches] == [(0,), (1,), (2,)]


@pytest.mark.parametrize("split", ["train_inferred", "test_inferred_ood"])
def test_comparison(compared, split):
    data = dataset.read(compared)
    examples = draw.examples(data, split, ALL, seed=0)
    every, inside, outside = facts_by_split(compared)
    side = outside if split.endswith("ood") else inside
    given = {site: corrupted(examples, data, site) for site in ("a", "e1", "e2")}
    equal = 0
    for i, prompt in enumerate(examples.prompts):
        a, q, e1, mask, e2 = words(data, prompt)
        v1, v2 = (int(every[e, a].strip("<>")) for e in (e1, e2))
        equal += v1 == v2
        names = ("value1", "value2", "label_0", "label_1", "label_2")
        found = words(data, [examples.targets[name][i, 0] for name in names])
        assert found == [f"<{v1}>", f"<{v2}>", *(f"{a[:-1]}_{k}>" for k in range(3))]
        assert words(data, examples.targets["labels"][i]) == found[2:]
        assert words(data, examples.targets["answer"][i]) == [found[2 + (v1 > v2) - (v1 < v2) + 1]]
        first, second = ({v2}, {v1}) if v1 != v2 else ({v2 - 1, v2 + 1}, {v1 - 1, v1 + 1})
        values = {e: int(v.strip("<>")) for (e, attribute), v in side.items() if attribute == a}
        allowed = {
            "a": {(x, q, e1, mask, e2) for _, x in every if x != a},
            "e1": {(a, q, x, mask, e2) for x, v in values.items() if v in first and x != e1},
            "e2": {(a, q, e1, mask, x) for x, v in values.items() if v in second and x != e2},
        }
        for site, candidates in allowed.items():
            assert (i in given[site]) == bool(candidates)
            assert not candidates or tuple(given[site][i]) in candidates
    assert equal
    assert [patch.positions for patch in examples.patches] == [(0, 1), (2, 3), (4,)]


def test_without_facts_the_id_facts_are_those_that_training_inferences_use(tmp_path):
    folder = small_world.write(tmp_path / "original")
    data = dataset.read(folder)
    every = circuit_subjects.facts_of(folder)
    used = set()
    for row in json.loads((folder / "train.json").read_text()):
        told = row["input_text"].replace("><", "> <").split()
        if len(told) == 3:
            used |= {(told[0], told[1]), (every[told[0], told[1]], told[2])}
    examples = draw.examples(data, "train_inferred", ALL, seed=0)
    for site, at in (("r1", lambda p: (p[0], p[1])), ("r2", lambda p: (every[p[0], p[1]], p[2]))):
        chosen = {at(prompt) for prompt in corrupted(examples, data, site).values()}
        assert chosen <= used
        assert len(chosen) > 20
    ood = draw.examples(data, "test_inferred_ood", ALL, seed=0)
    assert {(p[0], p[1]) for p in corrupted(ood, data, "r1").values()}.isdisjoint(used)


def test_choices_depend_on_seed_and_row_alone(sparse):
    data = dataset.read(sparse)
    few, many, other = (
        draw.examples(data, "train_inferred", limit, seed) for limit, seed in ((7, 0), (ALL, 0), (ALL, 1))
    )
    assert len(few) == 7
    place = {tuple(prompt): i for i, prompt in enumerate(many.prompts.tolist())}
    for site in ("h", "r1", "r2"):
        all_of_them = corrupted(many, data, site)
        for row, prompt in corrupted(few, data, site).items():
            assert all_of_them[place[tuple(few.prompts[row])]] == prompt
    assert corrupted(other, data, "h") != corrupted(many, data, "h")
    again = draw.examples(data, "train_inferred", 7, 0)
    assert np.array_equal(again.prompts, few.prompts)


def test_what_cannot_be_traced_is_named(tmp_path, sparse):
    hard = data_runs.written(tmp_path / "hard", task="complex-reasoning", entities=30, relations=2, values=5, seed=1)
    with pytest.raises(UsageError, match=r"complex-reasoning.*composition or comparison"):
        draw.examples(dataset.read(hard), "test_inferred_iid", 5, 0)
    data = dataset.read(sparse)
    with pytest.raises(UsageError, match=r"test_inferred_xx.*id_atomic"):
        draw.examples(data, "test_inferred_xx", 5, 0)
    two = data_runs.written(
        tmp_path / "two", task="composition", entities=16, relations=6, degree=4, phi=2, ood=0.2, held_out=0.2,
        entity_tokens=2,
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"facts\.parquet.*two tokens.*--entity-tokens 1"):
        draw.examples(dataset.read(two), "train_inferred", 5, 0)
    frame = pl.read_parquet(sparse / "facts.parquet")
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in sparse.glob("*.json"):
        (broken / path.name).write_bytes(path.read_bytes())
    frame[: len(frame) // 2].write_parquet(broken / "facts.parquet")
    with pytest.raises(DataError, match="no fact for <e_"):
        draw.examples(dataset.read(broken), "train_inferred", ALL, 0)
