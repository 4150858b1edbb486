"""The toy world: what the stage writes holds against a reading of world.json that is not our own."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from memreason import arms
from memreason.codec import Codec
from memreason.data import Data
from memreason.options import ToyOptions
from memreason.toy import toy
from memreason.trace import Item, Step
from memreason.world import Blame, World, asking, making, telling, untrained
from memreason.world.content import Content
from runkit.errors import UsageError
from transformers import AutoModelForCausalLM, AutoTokenizer

SMALL: dict[str, Any] = {
    "people": 20, "cities": 4, "regions": 2, "years": 9, "questions": 160, "dev": 20, "test": 40, "layers": 1,
    "width": 16, "heads": 2,
}  # fmt: skip
DIALS: list[dict[str, Any]] = [
    {}, {"hops": 1, "given": 1, "distractors": 0}, {"hops": 3, "given": 0, "distractors": 1}, {"hops": 4, "removed": 0},
    {"people": 64, "years": 4, "removed": 0.5},
]  # fmt: skip


class Made:
    """A world in memory, and its content as plain data."""

    def __init__(self, seed: int, **sizes: Any) -> None:
        self.options = ToyOptions(seed=seed, **{**SMALL, **sizes})
        self.content: Content = making.make(self.options)
        self.world = World(self.content)
        self.items = list(telling.items(self.content, asking.drawn(self.content, self.options), self.options))
        self.texts = telling.texts(self.content, self.options)
        self.plain: dict[str, Any] = json.loads(self.content.model_dump_json())

    def split(self, name: str) -> list[Item]:
        return [item for item in self.items if item.split == name]


@pytest.fixture(scope="module", params=range(len(DIALS)))
def made(request: pytest.FixtureRequest) -> Made:
    return Made(request.param, **DIALS[request.param])


def asked(question: str) -> str:
    """The question without what it gives."""
    return question.split(" . ")[-1]


def named(question: str) -> list[str]:
    """The two that a question is about."""
    return [word for word in asked(question).split() if word[0].isupper()]


def plain(world: dict[str, Any], question: str) -> tuple[list[str], str]:
    """The words of the values on the way to the answer, and the answer, by hand."""
    words = asked(question).split()
    a, b = named(question)
    way: list[str] = []

    def go(relation: str, who: str) -> str:
        way.append(world[relation][who])
        return way[-1]

    for _ in range(words.count("mentor")):
        a = go("mentor", a)
    if "before" in words:
        return way, "yes" if int(go("born", a)) < int(go("born", b)) else "no"
    if "city" in words:
        return way, "yes" if go("lives", a) == go("lives", b) else "no"
    left = go("lies", go("lives", a))
    right = b if words[0] == "does" else go("lies", go("lives", b))
    return way, "yes" if left == right else "no"


def kind(item: Item) -> str:
    return item.id.split("-")[2]


def test_gold_traces_are_true_needed_and_blameless(made: Made):
    for item in made.items:
        trace = item.trace
        verdicts = made.world.check(trace.question, trace.steps)
        assert [verdict.content for verdict in verdicts] == list(trace.kinds())
        assert all(verdict.true and verdict.needed for verdict in verdicts), item
        assert made.world.missing(trace.question, trace.steps) == []
        assert made.world.blame(trace.question, trace.steps, trace.answer) == Blame("none", None)


def test_answers_and_steps_are_those_of_a_plain_reading(made: Made):
    for item in made.items:
        way, answer = plain(made.plain, item.trace.question)
        given = item.trace.question.split(" . ")[:-1]
        told = [step.text.split()[-1] for step in item.trace.steps[:-1]]
        assert item.trace.answer == answer, item
        assert item.trace.kinds() == ("memory",) * len(told) + ("reason",)
        rest = iter(way)
        assert all(value in rest for value in told), item  # in order
        assert set(way) <= {*told, *(" ".join(given).split())}


def test_splits_share_no_pair(made: Made):
    pairs = {
        split: {frozenset(named(item.trace.question)) for item in made.split(split)}
        for split in dict.fromkeys(item.split for item in made.items)
    }
    splits = list(pairs)
    assert splits == ["train", "dev", "test"] + ["removed"] * bool(made.options.removed)
    assert not any(pairs[a] & pairs[b] for a in splits for b in splits if a < b)
    sizes = (made.options.questions, made.options.dev, made.options.test, made.options.test // 2)
    assert [len(made.split(split)) for split in splits] == list(sizes[: len(splits)])
    for split in splits[1:]:
        questions = [asked(item.trace.question) for item in made.split(split)]
        assert len(set(questions)) == len(questions)
    assert len({item.id for item in made.items}) == len(made.items)


def test_answers_are_balanced_in_every_kind(made: Made):
    counts = Counter((item.split, kind(item), item.trace.answer) for item in made.items)
    levels = max(1, made.options.hops - 1)
    assert len({each for _, each, _ in counts}) == levels * (2 if made.options.hops == 1 else 4)
    for split, each, _ in counts:
        assert 0 <= counts[split, each, "yes"] - counts[split, each, "no"] <= 1
    of_train = Counter(kind(item) for item in made.split("train"))
    assert max(of_train.values()) - min(of_train.values()) <= 1


def test_of_removed_people_nothing_is_told(made: Made):
    removed = set(made.content.removed)
    assert len(removed) == round(made.options.people * made.options.removed)
    told = [*made.texts, *(f"{i.trace.question} {' '.join(s.text for s in i.trace.steps)}" for i in made.items
                           if i.split != "removed")]  # fmt: skip
    assert not removed & {word for text in told for word in text.split()}
    for item in made.split("removed"):
        assert len(removed & set(named(item.trace.question))) == 1
        assert not removed & set(" ".join(item.trace.question.split(" . ")[:-1]).split())
        assert len(made.world.facts(item.trace.question)) == item.trace.kinds().count("memory")


def test_every_fact_that_is_told_is_learned_in_three_ways(made: Made):
    relations = ["born", "lives"] + ["lies"] * (made.options.hops > 1) + ["mentor"] * (made.options.hops > 2)
    facts = {(a, b) for each in relations for a, b in made.plain[each].items() if a not in made.plain["removed"]}
    ways = Counter(tuple(re.findall(r"\b(?:[A-Z]\w+|\d{4})\b", text)) for text in made.texts)
    assert all(ways[fact] >= 3 for fact in facts)
    compared = len(made.content.years) ** 2 + len(made.content.cities) ** 2
    compared += len(made.content.regions) ** 2 if made.options.hops > 1 else 0
    assert len(made.texts) == 3 * len(facts) + compared
    assert len(set(made.texts)) == len(made.texts)
    for text in made.texts:
        if found := re.search(r"(\d{4}) .* (\d{4}) is (\w+)", text):
            a, b = int(found[1]), int(found[2])
            assert found[3] == ("earlier" if a < b else "later" if a > b else "equal")


def test_the_first_words_do_not_tell_what_a_step_is(made: Made):
    first = Counter((step.text.split()[0], step.kind) for item in made.items for step in item.trace.steps)
    for word in ("note", "we"):
        assert first[word, "memory"]
        assert first[word, "reason"]


def test_given_facts_are_not_recalled():
    for share, distractors in ((1, 0), (0, 1), (0, 0), (0.3, 0.3)):
        made = Made(3, given=share, distractors=distractors, questions=400)
        rows = made.split("train")
        given = [item.trace.question.count("given that") for item in rows]
        recalled = [item.trace.kinds().count("memory") for item in rows]
        needed = [len(set(_slots(made.plain, item.trace.question))) for item in rows]
        if (share, distractors) == (1, 0):
            assert all(g + r == n and g for g, r, n in zip(given, recalled, needed, strict=True))
            assert 0.4 < recalled.count(0) / len(rows) < 0.6  # the chain starts with a reasoning step
            assert {g for g, r in zip(given, recalled, strict=True) if r} == {1}
        elif not share:
            assert set(given) == {int(distractors)}
            assert recalled == needed
        else:
            assert 0.2 < sum(r < n for r, n in zip(recalled, needed, strict=True)) / len(rows) < 0.4
            idle = sum(g + r > n for g, r, n in zip(given, recalled, needed, strict=True))
            assert 0.2 < idle / len(rows) < 0.4


def _slots(world: dict[str, Any], question: str) -> Iterator[tuple[str, str]]:
    words = asked(question).split()
    relations = ["born"] if "before" in words else ["lives"] if "city" in words else ["lives", "lies"]
    people = named(question)[: 1 if words[0] == "does" else 2]
    for who in people:
        for relation in relations:
            yield relation, who
            who = world[relation][who]


def test_an_override_turns_the_answer_of_a_plain_reading(made: Made):
    turned = 0
    for item in made.split("test"):
        question = item.trace.question
        found = made.world.override(question)
        if found is None:
            assert not set(_turned(made, question)) - {item.trace.answer}
            continue
        turned += 1
        subject, value = re.findall(r"\b(?:[A-Z]\w+|\d{4})\b", found.fact)
        relation = next(each for each in ("born", "lives", "lies", "mentor") if each in found.fact)
        assert made.plain[relation][subject] != value
        assert found.fact.rpartition(" ")[0] in {fact.rpartition(" ")[0] for fact in made.world.facts(question)}
        false = made.plain | {relation: made.plain[relation] | {subject: value}}
        assert plain(false, question)[1] == found.answer != item.trace.answer
    assert turned


def _turned(made: Made, question: str) -> Iterator[str]:
    """The answers when a fact that is to be recalled has any other value."""
    for fact in made.world.facts(question):
        subject, _ = re.findall(r"\b(?:[A-Z]\w+|\d{4})\b", fact)
        relation = next(each for each in ("born", "lives", "lies", "mentor") if each in fact)
        for value in set(made.plain[relation].values()) - {subject, named(question)[1]}:
            yield plain(made.plain | {relation: made.plain[relation] | {subject: value}}, question)[1]


def _spoilt(item: Item, made: Made, draws: Random) -> Iterator[tuple[list[Step], str | None, set[Blame]]]:
    """Corrupted chains, and whom their wrong answer is to be blamed on."""
    steps, last = list(item.trace.steps), len(item.trace.steps)
    wrong = "no" if item.trace.answer == "yes" else "yes"
    yield steps, wrong, {Blame("reason", None)}
    yield steps, None, {Blame("format", None)}
    at = draws.randrange(last)
    yield [*steps[:at], Step("memory", "and so on"), *steps[at:]], wrong, {Blame("format", at + 1)}
    verdict = next(each for each in ("earlier", "later", "equal", "the same city", "another city", "the same region",
                                     "another region") if steps[-1].text.endswith(each))  # fmt: skip
    other = {"earlier": "later", "later": "equal", "equal": "earlier", "the same city": "another city",
             "another city": "the same city", "the same region": "another region",
             "another region": "the same region"}[verdict]  # fmt: skip
    yield (
        [*steps[:-1], Step("reason", steps[-1].text.replace(verdict, other))], wrong, {Blame("reason", last)}
    )  # fmt: skip
    if last == 1:
        return
    at = draws.randrange(last - 1)
    dropped = [*steps[:at], *steps[at + 1 :]]  # by chance the conclusion may follow from what else was said
    yield dropped, wrong, {Blame("memory", last - 1), Blame("memory", None)}
    yield [steps[-1], *steps[:-1]], wrong, {Blame("reason", 1)}
    value = steps[at].text.split()[-1]
    words = next(made.plain[each] for each in ("years", "cities", "regions", "people") if value in made.plain[each])
    instead = draws.choice([word for word in words if word != value])
    changed = Step("memory", steps[at].text.replace(f" {value}", f" {instead}"))
    yield [*steps[:at], changed, *steps[at + 1 :]], wrong, {Blame("memory", at + 1)}


def test_corrupted_traces_are_blamed_as_planted(made: Made):
    draws = Random(0)
    seen: Counter[str] = Counter()
    for item in [*made.split("train")[:80], *made.split("removed")]:
        for steps, answer, expected in _spoilt(item, made, draws):
            found = made.world.blame(item.trace.question, steps, answer)
            assert found in expected, (item.trace.question, steps, answer)
            assert made.world.blame(item.trace.question, steps, item.trace.answer).kind == "none"
            seen[found.kind] += 1
    assert min(seen[each] for each in ("memory", "reason", "format")) > 30


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"cities": 4, "regions": 5}, r"--regions 5: .*--cities 4 at most 4"),
        ({"people": 8, "removed": 0.05}, r"--removed 0.05 of --people 8 is nobody: give at least 0.125"),
        ({"people": 8, "removed": 0.8}, r"--removed 0.8 of --people 8 leaves 2 people .* at most 0.5"),
        ({"people": 8, "cities": 8, "regions": 2}, r"--people 8: no question same_city of training .* yes"),
        ({"test": 4000}, r"--test 4000: .*give at most (\d+)"),
        ({"dev": 4000}, r"--dev 4000: .*give at most (\d+)"),
        ({"people": 40, "removed": 0.02, "test": 440}, r"--test 440: split removed .* give --test at most (\d+)"),
    ],
)  # fmt: skip
def test_sizes_that_make_no_world(sizes: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message) as error:
        Made(0, **sizes)
    found = re.search(message, str(error.value))
    if found and found.groups():
        name, most = next(each for each in ("dev", "test") if each in sizes), int(found[1])
        assert Made(0, **{**sizes, name: most})
        with pytest.raises(UsageError):
            Made(0, **{**sizes, name: most + 2})


def test_a_width_that_heads_cannot_share(tmp_path: Path):
    with pytest.raises(UsageError, match="--width 18: give a multiple of 4, twice the --heads 2"):
        untrained.save(tmp_path, ["yes"], ToyOptions(**{**SMALL, "width": 18}))
    assert not list(tmp_path.iterdir())


def _bytes(folder: Path) -> dict[str, bytes]:
    kept = ("tables", "figures", "model", "world.json")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] in kept
    }


def test_the_stage_writes_a_world_that_can_be_learned(workplace: Path):
    folder = toy(ToyOptions(seed=5, out=workplace / "a", **SMALL))
    again = toy(ToyOptions(seed=5, out=workplace / "b", **SMALL))
    files = _bytes(folder)
    assert files == _bytes(again)
    assert {"world.json", "tables/traces.parquet", "tables/texts.parquet", "figures/world.png",
            "model/model.safetensors", "model/tokenizer.json", "model/config.json"} <= files.keys()  # fmt: skip

    data = Data.open(str(folder))
    assert data.world is not None
    world = World.load(data.world)
    memory, other = Made(5), Made(6)
    assert (other.items, other.content) != (memory.items, memory.content)
    assert (data.items, data.texts, world.content) == (memory.items, memory.texts, memory.content)
    _can_be_read(folder, data.items, data.texts)
    told = pl.Series([item.split for item in data.items]).value_counts().rows()
    assert dict(told) == {"train": 160, "dev": 20, "test": 40, "removed": 20}


def _can_be_read(folder: Path, rows: Sequence[Item], texts: Sequence[str]) -> None:
    """By Hugging Face's own classes: no word is unknown, and what is rendered is read back."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    lm = AutoModelForCausalLM.from_pretrained(folder / "model")
    weights = [untrained.model(len(tokenizer), ToyOptions(seed=seed, **SMALL)).state_dict() for seed in (5, 6)]
    of_head = [each["lm_head.weight"] for each in (lm.state_dict(), *weights)]
    assert (of_head[0] == of_head[1]).all()
    assert (of_head[0] != of_head[2]).any()
    assert (lm.config.num_hidden_layers, lm.config.hidden_size, lm.config.tie_word_embeddings) == (1, 16, False)
    assert lm.get_input_embeddings().weight.shape[0] == len(tokenizer)
    assert not {"general", "step", "memory", "reason", "answer", "plan", "[memory]", "[reason]"} - {*tokenizer.vocab}
    codec = Codec(tokenizer, arms.scheme("typed", general=1, special=2))
    for item in rows:
        ids = codec.render(item.trace)
        assert tokenizer.unk_token_id not in ids.ids
        parsed = codec.parse(ids.ids[ids.prompt :])
        assert (parsed.steps, parsed.answer, parsed.problems) == (item.trace.steps, item.trace.answer, ())
        assert codec.question(ids.ids[: ids.prompt]) == item.trace.question
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert len(ids) == len(text.split())
