"""Worlds of profiles: read back from the words alone, with a plain parser, and held against the facts."""

import json
import re
from collections import Counter
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from grokked_reasoning import dataset
from grokked_reasoning.data import check, made
from grokked_reasoning.options import MakeOptions
from grokked_reasoning.worlds.made import Row
from runkit.errors import UsageError

from tests.packages.grokked_reasoning.data_runs import written

RELATIONS = [
    "parent",
    "child",
    "best_friend",
    "worst_enemy",
    "sibling",
    "spouse",
    "cousin",
    "grandparent",
    "grandchild",
    "business_partner",
    "protege",
    "mentor",
    "betrayer",
    "debtor",
    "blackmailer",
    "hero",
    "evil_twin",
]
SUBJECTS = [*RELATIONS, "birth_date", "birth_city", "university", "employer"]
ORDER = [
    "first_people",
    "relations",
    "second_attributes",
    "person_relation_pairs",
    "second_people",
    "second_person_attribute_pairs",
]


def _options(**asked: Any) -> MakeOptions:
    return MakeOptions(**{"task": "profiles", "entities": 60, "phi": 3.0, "seed": 4} | asked)


def _read(prompt: str) -> list[str]:
    """Person, then subjects."""
    told = re.fullmatch(r"Question: What was (.*)\? Answer:", prompt)
    assert told
    person, *subjects = told[1].split("'s ")
    return [person, *(each.replace(" ", "_") for each in subjects)]


def _facts(frame: pl.DataFrame) -> dict[tuple[str, str], str]:
    return {(head, relation): tail for head, relation, tail, _ in frame.iter_rows()}


def _followed(facts: dict[tuple[str, str], str], chain: list[str]) -> str:
    value = chain[0]
    for subject in chain[1:]:
        value = facts[value, subject]
    return value


@pytest.fixture(scope="module")
def world():
    return made(_options(hops=3))


@pytest.fixture(scope="module")
def training(world) -> list[Row]:
    return list(world.train)


def test_every_person_has_21_facts_and_relations_lead_to_people(world):
    facts = _facts(world.facts)
    people = {head for head, _ in facts}
    assert len(people) == 60
    assert set(facts) == set(product(people, SUBJECTS))
    assert all(facts[person, relation] in people for person, relation in product(people, RELATIONS))
    assert all(re.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]+ [A-Z][a-z]+", person) for person in people)
    assert world.more["names"] > 10**6


def test_every_answer_is_what_the_facts_say_at_the_end_of_the_chain(world, training):
    facts = _facts(world.facts)
    hops = {"train_onehop": 1, "train_threehop": 3, "complete_three_hop": 3}
    for row in [*training, *world.test]:
        chain = _read(row.prompt)
        assert row.answer == f" {_followed(facts, chain)}</a>"
        assert len(chain) == 1 + hops.get(row.kind, 2)
    kinds = Counter(row.kind for row in training)
    assert kinds == {"train_onehop": 60 * 21, "train_twohop": 3 * 60 * 21, "train_threehop": 3 * 60 * 21}
    assert len({row.prompt for row in training}) == len(training)


def _members(world) -> dict[str, set[Any]]:
    told = world.more["held_out_sets"]
    return {name: {tuple(each) if isinstance(each, list) else each for each in told[name]} for name in ORDER}


def _kind(facts: dict[tuple[str, str], str], sets: dict[str, set[Any]], person: str, first: str, second: str) -> str:
    """The set that holds a two-hop question out: the first in order."""
    bridge = facts[person, first]
    places = [person, first, second, (person, first), bridge, (bridge, second)]
    return next((name for name, place in zip(ORDER, places, strict=True) if place in sets[name]), "")


def test_held_out_sets_have_a_fiftieth_each_and_tests_ask_for_them_alone(world, training):
    facts, sets = _facts(world.facts), _members(world)
    sizes = {"first_people": 60, "relations": 17, "second_attributes": 21, "person_relation_pairs": 60 * 17}
    sizes |= {"second_people": 60, "second_person_attribute_pairs": 60 * 21}
    assert {name: len(members) for name, members in sets.items()} == {
        name: max(1, round(0.02 * size)) for name, size in sizes.items()
    }
    known = {row.prompt for row in training}
    kinds = Counter[str]()
    for row in [*training, *world.test]:
        chain = _read(row.prompt)
        if len(chain) == 3:
            expected = row.kind if row.kind in ORDER else ""
            assert _kind(facts, sets, chain[0], chain[1], chain[2]) == expected
            assert (row.prompt in known) == (row.kind == "train_twohop")
            kinds[row.kind] += 1
    assert set(kinds) == {"train_twohop", "complete_two_hop", *ORDER}


def test_every_two_hop_question_is_in_one_pool(world):
    facts, sets = _facts(world.facts), _members(world)
    people = {head for head, _ in facts}
    plainly = Counter(_kind(facts, sets, *each) for each in product(people, RELATIONS, SUBJECTS))
    free = world.counts["train_twohop_pool"] + world.counts["complete_two_hop_pool"]
    assert {"": free} | {name: world.counts[f"{name}_pool"] for name in ORDER} == dict(plainly)
    assert world.counts["complete_two_hop_pool"] / free == pytest.approx(0.1, abs=0.01)


def test_three_hop_questions_are_made_of_trained_parts_and_the_pool_is_all_of_them():
    options = _options(entities=6, hops=3, phi=0.5, probes=40)
    world = made(options)
    training = list(world.train)
    facts = _facts(world.facts)
    two_hop = {tuple(_read(row.prompt)) for row in made(_options(entities=6, phi=_most(options))).train}
    people = sorted({head for head, _ in facts})
    parts = {
        (person, one, two, subject)
        for person, one, two, subject in product(people, RELATIONS, RELATIONS, SUBJECTS)
        if (person, one, two) in two_hop and (facts[person, one], two, subject) in two_hop
    }
    assert world.counts["threehop_pool"] == len(parts)
    asked = {tuple(_read(row.prompt)) for row in training if row.kind == "train_threehop"}
    unseen = {tuple(_read(row.prompt)) for row in world.test if row.kind == "complete_three_hop"}
    assert asked <= parts
    assert unseen <= parts - asked
    assert len(unseen) == 40


def _most(options: MakeOptions) -> float:
    """The largest phi of a world: all two-hop questions that no test keeps."""
    people = options.world().entities
    return made(options).counts["train_twohop_pool"] / (21 * people)


def test_smaller_phi_is_nested_in_larger_and_the_tests_stay():
    few, many = made(_options(phi=1.0)), made(_options(phi=2.5))
    small, large = ({row for row in each.train if row.kind == "train_twohop"} for each in (few, many))
    assert small < large
    tests = [{row for row in each.test if row.kind not in each.trained} for each in (few, many)]
    assert tests[0] == tests[1]


def test_dates_are_uniform_over_every_day_of_two_centuries():
    """Chi-squared of the day of the month against the calendar; the reference's clamp to 28 would give thousands."""
    frame = made(_options(entities=20_000, phi=0.0)).facts
    born = [date.fromisoformat(each) for each in frame.filter(relation="birth_date")["tail"]]
    days = [date(1900, 1, 1) + timedelta(days=i) for i in range((date(2100, 1, 1) - date(1900, 1, 1)).days)]
    expected = Counter(each.day for each in days)
    seen = Counter(each.day for each in born)
    scale = len(born) / len(days)
    statistic = sum((seen[day] - scale * count) ** 2 / (scale * count) for day, count in expected.items())
    assert statistic < 59.7  # 30 degrees of freedom, p = 0.001
    assert min(born) < date(1901, 1, 1)
    assert max(born) > date(2098, 12, 31)


def test_relations_are_uniform_and_may_lead_to_oneself():
    facts = _facts(made(_options(entities=200, phi=0.0)).facts)
    known = [(person, value) for (person, subject), value in facts.items() if subject in RELATIONS]
    own = sum(person == value for person, value in known)
    assert 3 < own < 36  # 17 expected, four standard deviations
    counts = Counter(value for _, value in known)
    assert sum((count - 17) ** 2 / 17 for count in counts.values()) + 17 * (200 - len(counts)) < 270  # p = 0.001


def test_a_folder_is_read_token_by_token_and_has_a_biography_each(tmp_path: Path):
    folder = written(tmp_path, task="profiles", entities=30, phi=3.0)
    read = dataset.read(folder)
    rows = json.loads((folder / "train.json").read_text())
    for i in range(0, len(rows), 97):
        text = "".join(read.vocabulary.strings[each] for each in read.train.ids[i])
        assert text.startswith(rows[i]["target_text"])
        start, length = read.train.start[i], read.train.length[i]
        answer = "".join(read.vocabulary.strings[each] for each in read.train.ids[i, start : start + length])
        assert rows[i]["input_text"] + answer + "</a>" == rows[i]["target_text"]
    facts = _facts(pl.read_parquet(folder / "facts.parquet"))
    lines = (folder / "bios.txt").read_text().splitlines()
    people = list(dict.fromkeys(head for head, _ in facts))
    assert len(lines) == len(people) == 30
    for line, person in zip(lines, people, strict=True):
        assert line.count(".") == 21
        assert all(facts[person, subject] in line for subject in SUBJECTS)


def test_facts_alone_without_phi(tmp_path: Path):
    folder = written(tmp_path, task="profiles", entities=10, phi=0.0)
    assert {row["type"] for row in json.loads((folder / "train.json").read_text())} == {"train_onehop"}
    assert json.loads((folder / "valid.json").read_text()) == []
    assert dataset.read(folder).world.id == ()


def test_the_seed_decides(world, training):
    again, other = made(_options(hops=3)), made(_options(hops=3, seed=5))
    assert list(again.train) == training
    assert again.test == world.test
    assert not set(other.facts["head"]) & set(world.facts["head"])
    assert other.more["held_out_sets"] != world.more["held_out_sets"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"phi": 17.0}, r"two hops.*60 people.*at most --phi 1[0-9.]+"),
        ({"entities": 5, "phi": 1.0, "hops": 3, "probes": 50_000}, r"three hops.*5 people give 0.*at most --phi 0,"),
        ({"entities": 2_000_001}, "2000000 people"),
    ],
)
def test_sizes_that_cannot_be_had_are_refused(asked: dict[str, Any], told: str):
    with pytest.raises(UsageError, match=told):
        made(_options(**asked))


def test_an_option_of_another_task_is_refused():
    with pytest.raises(UsageError, match="--degree"):
        check(_options(degree=3))
