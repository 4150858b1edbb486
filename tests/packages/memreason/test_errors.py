"""Planted mistakes are found by whoever knows, and a judge that says nothing is never quoted."""

import json
import re
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from llmkit import BudgetSpent
from memreason.data import Data
from memreason.errors import errors
from memreason.importing import import_
from memreason.options import ErrorsOptions, ImportOptions
from memreason.trace import Item, Step, Trace
from runkit import journal
from runkit.errors import UsageError

from tests.packages.memreason import made
from tests.shared.llmkit.server import PASSING, UNUSABLE, Body, FaultyServer, prompt_of, seeded

pytestmark = pytest.mark.usefixtures("hurried", "workplace")

PLANTS = ("memory", "reason", "format", "none")


def planted(item: Item, number: int) -> tuple[str, Trace]:
    """An answer with a mistake of the kind that its number says, and that kind; "" for a right one."""
    steps, other = item.trace.steps, "no" if item.trace.answer == "yes" else "yes"
    what = ("", *PLANTS)[number % 5]
    if what == "memory":
        town = steps[1].text.split()[0]
        wrong = "Italy" if made.PLACES[town] != "Italy" else "France"
        return what, Trace(item.trace.question, (steps[0], Step("memory", f"{town} lies in {wrong}"), steps[2]), other)
    if what == "reason":
        turned = "the same" if "another" in steps[2].text else "another"
        return what, Trace(item.trace.question, (*steps[:2], Step("memory", f"so it is {turned} country")), other)
    if what == "format":
        return what, Trace(item.trace.question, steps, None)
    return what, item.trace._replace(answer=other) if what else item.trace


def truth(body: Body) -> str:
    """A judge that knows where the towns lie: it reads nothing but the prompt."""
    asked = body["messages"][-1]["content"]
    steps = re.findall(r"^(\d+)\. (.*)$", asked, re.MULTILINE)
    facts = [re.fullmatch(r"(\w+) lies in (\w+)", text) for _, text in steps]
    if "The right answer" not in asked:
        return json.dumps({"contents": ["memory" if fact else "reason" for fact in facts]})
    told: dict[str, Any] = {"blame": "none", "step": None}
    a, b = (made.PLACES[town] for town in re.findall(r"are (\w+) and (\w+) in", asked)[0])
    if "(none that could be read)" in asked:
        told["blame"] = "format"
    elif false := next((i for i, fact in enumerate(facts, 1) if fact and made.PLACES[fact[1]] != fact[2]), None):
        told |= {"blame": "memory", "step": false}
    elif ("the same" in steps[2][1]) != (a == b):
        told |= {"blame": "reason", "step": 3}
    return json.dumps({"rationale": f"because of {told['blame']}", **told})


def case(folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Fifteen answers, three of each plant; and the options that judge them, but for the judge."""
    data = folder / "data"
    said = [(item, *planted(item, i)) for i, item in enumerate(made.items())]
    if not data.exists():
        made.traces(data)
        rows = [
            made.answer(item, trace, correct=not what, logprob=-0.1 - 0.01 * i if not what else -0.5 + 0.03 * i)
            for i, (item, what, trace) in enumerate(said)
        ]
        made.evaluation(folder / "evaluated", rows)
    options = {"answers": str(folder / "evaluated"), "data": str(data), "key_variable": "none", "timeout": 2.0,
               "out": folder / "run"}  # fmt: skip
    return {item.id: what for item, what, _ in said}, options


def table(folder: Path | None, name: str) -> pl.DataFrame:
    assert folder is not None
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


def metrics(folder: Path | None) -> dict[str, float]:
    assert folder is not None
    found: dict[str, float] = {}
    for event in journal.intact(folder / "journal.jsonl"):
        if event["event"] == "metrics":
            found |= event["values"]
    return found


def wilson(hits: int, n: int) -> tuple[float, float]:
    """By the formula."""
    z, share = 1.959963984540054, hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return middle - half, middle + half


@pytest.mark.usefixtures("drawn")
def test_a_judge_that_knows_finds_what_was_planted(workplace: Path):
    plants, options = case(workplace)
    with FaultyServer(truth) as server:
        folder = errors(ErrorsOptions(**options, judge="sage", base_url=server.url))
        prompts = [body["messages"][-1]["content"] for body in server.bodies]
        again = errors(ErrorsOptions(**options, judge="sage", base_url=server.url))
        fresh = errors(ErrorsOptions(**{**options, "out": workplace / "fresh"}, judge="sage", base_url=server.url))
        wrong = sum(bool(what) for what in plants.values())
        assert server.calls == len(prompts) == wrong + len(plants), "what is known is not asked again"
    assert again == folder
    blame = table(folder, "blame")
    assert dict(blame.select("id", "blame").iter_rows()) == {name: what for name, what in plants.items() if what}
    assert set(blame.filter(blame="memory")["step"]) == {2}
    assert set(blame.filter(blame="reason")["step"]) == {3}
    assert set(blame.select("judge", "status").iter_rows()) == {("sage", "ok")}
    assert blame["rationale"].to_list() == [f"because of {what}" for what in blame["blame"]]
    assert table(fresh, "blame").equals(blame)
    steps = table(folder, "decoupling")
    assert len(steps) == 3 * len(plants)
    assert set(steps.filter(pl.col("step") < 3)["content"]) == {"memory"}
    assert set(steps.filter(step=3)["content"]) == {"reason"}
    numbers = metrics(folder)
    lies = sum(what == "reason" for what in plants.values())  # conclusions that call themselves memory
    assert numbers["judge/kept/memory"] == pytest.approx(2 * len(plants) / (2 * len(plants) + lies))
    assert numbers["judge/kept/reason"] == 1
    hits = sum(what == "memory" for what in plants.values())
    low, high = wilson(hits, wrong)
    told = [numbers[f"judge/blame/memory{end}"] for end in ("", "_low", "_high", "_n")]
    assert told == pytest.approx([hits / wrong, low, high, wrong])
    assert (numbers["wrong"], numbers["judge/invalid"], numbers["judge/error"]) == (wrong, 0, 0)
    assert folder is not None
    assert (folder / "figures" / "errors.png").stat().st_size > 10_000
    assert not (folder / "tables" / "agreement.parquet").exists()
    lines = [orjson.loads(line) for line in (folder / "exchanges.jsonl").read_bytes().splitlines()]
    assert len({line["key"] for line in lines}) == len(prompts)


def test_a_judge_sees_no_labels(workplace: Path):
    _, options = case(workplace)
    with FaultyServer(truth) as server:
        errors(ErrorsOptions(**options, judge="sage", base_url=server.url))
        prompts = [body["messages"][-1]["content"].partition("JSON")[0] for body in server.bodies]
    assert all("Steps:\n1. " in prompt for prompt in prompts)
    assert not any(re.search(r"memory|reason", prompt) for prompt in prompts)


def test_confidence_by_counting_pairs(workplace: Path):
    _, options = case(workplace)
    with FaultyServer(truth) as server:
        folder = errors(ErrorsOptions(**options, judge="sage", base_url=server.url, decoupling=False))
    answers = table(workplace / "evaluated", "answers")
    right, wrong = (answers.filter(correct=fine)["logprob"].to_list() for fine in (True, False))
    wins = [(a > b) + (a == b) / 2 for a in right for b in wrong]
    assert 0 < sum(wins) < len(wins)
    assert metrics(folder)["confidence_auroc"] == pytest.approx(sum(wins) / len(wins))
    assert metrics(folder)["logprob_right"] == pytest.approx(sum(right) / len(right))
    assert table(folder, "decoupling").is_empty()


def test_faults_lose_and_invent_nothing(workplace: Path, capsys: pytest.CaptureFixture[str]):
    plants, options = case(workplace)
    passing = tuple(fault for fault in PASSING if fault != "hang")
    with FaultyServer(truth, plan=seeded(0.3, (*passing, *UNUSABLE), seed=1)) as server:
        folder = errors(ErrorsOptions(**options, judge="sage", base_url=server.url))
        assert server.calls > 1.2 * 27, "faults were committed"
    assert_nothing_made_up(folder, plants)
    capsys.readouterr()
    with FaultyServer(truth, plan=lambda prompt, n: "413" if "Rome" in prompt else None) as server:
        there = {**options, "out": workplace / "other" / "run"}
        folder = errors(ErrorsOptions(**there, judge="sage", base_url=server.url))
    assert_nothing_made_up(folder, plants)
    lost = table(folder, "blame").filter(status="error")
    assert set(lost["id"]) == {name for name, what in plants.items() if what and "Rome" in name}
    numbers = metrics(folder)
    assert numbers["judge/error"] == len(lost)
    assert numbers["judge/blame/memory_n"] == len(table(folder, "blame")) - len(lost)
    assert "--fresh asks for them again" in capsys.readouterr().err


def assert_nothing_made_up(folder: Path | None, plants: dict[str, str]) -> None:
    blame, steps = table(folder, "blame"), table(folder, "decoupling")
    assert sorted(blame["id"]) == sorted(name for name, what in plants.items() if what)
    for row in blame.iter_rows(named=True):
        assert row["blame"] == (plants[row["id"]] if row["status"] == "ok" else None)
        assert row["rationale"]
    assert len(steps) == 3 * len(plants)
    for row in steps.iter_rows(named=True):
        assert row["content"] == (("memory", "memory", "reason")[row["step"] - 1] if row["status"] == "ok" else None)


def test_the_budget_is_kept_and_the_same_command_goes_on(workplace: Path, capsys: pytest.CaptureFixture[str]):
    _, options = case(workplace)
    with FaultyServer(truth) as server:
        asked = ErrorsOptions(**options, judge="sage", base_url=server.url)
        assert errors(asked.model_copy(update={"dry_run": True})) is None
        assert server.calls == 0
        told = capsys.readouterr().out
        assert not (workplace / "run").exists()
        with pytest.raises(BudgetSpent, match="5 of"):
            errors(asked.model_copy(update={"max_calls": 5}))
        folder = errors(asked)
        assert max(server.asked.values()) == 1
        assert f": {server.calls} requests" in told
        calm = errors(asked.model_copy(update={"out": workplace / "calm" / "run"}))
    for name in ("blame", "decoupling"):
        assert table(folder, name).equals(table(calm, name))


def test_a_limit_draws_from_all(workplace: Path):
    _, options = case(workplace)
    with FaultyServer(truth) as server:
        folder = errors(ErrorsOptions(**options, judge="sage", base_url=server.url, limit=4))
        assert server.calls == 8
    judged = table(folder, "blame")["id"].to_list()
    wrong = table(workplace / "evaluated", "answers").filter(correct=False)["id"].to_list()
    assert len(judged) == 4
    assert judged == [name for name in wrong if name in judged]
    assert judged != wrong[:4]


def test_a_local_judge_that_knows_nothing_says_nothing(workplace: Path):
    _, options = case(workplace)
    made.base(workplace / "model")
    folder = errors(ErrorsOptions(**options, judge=f"local:{workplace / 'model'}", limit=2, device="cpu"))
    blame = table(folder, "blame")
    assert blame["blame"].to_list() == [None, None]
    assert set(blame["status"]) <= {"invalid", "error"}
    assert all(blame["rationale"])


@pytest.mark.realdata
def test_published_steps_are_judged_as_they_are(workplace: Path, shared_folder: Path):
    """A judge that says what StrategyQA's annotators say, a third of whose replies fail: no step is lost or made up."""
    source = shared_folder / "data" / "memory_reason_steps" / "StrategyQA_test_clean.json"
    place = import_(ImportOptions(data=(str(source),), limit=20, on_bad_row="quarantine", out=workplace / "data"))
    told = [item for item in Data.open(str(place)).items if item.trace.steps]
    kinds = {item.trace.question: list(item.trace.kinds()) for item in told}
    flipped = {"True": "False", "False": "True"}
    rows = [made.answer(item, item.trace._replace(answer=flipped[item.trace.answer or ""])) for item in told]
    made.evaluation(workplace / "evaluated", rows)

    def published(body: Body) -> str:
        asked = prompt_of(body)  # a second asking ends in what was wrong with the first answer
        if "The right answer" in asked:
            return json.dumps({"rationale": "turned", "blame": "reason", "step": None})
        question = re.findall(r"^Question: (.*)$", asked, re.MULTILINE)[0]
        return json.dumps({"contents": next(each for key, each in kinds.items() if " ".join(key.split()) == question)})

    options = ErrorsOptions(answers=str(workplace / "evaluated"), data=str(place), judge="sage", key_variable="none",
                            out=workplace / "run", timeout=2.0)  # fmt: skip
    passing = tuple(fault for fault in PASSING if fault != "hang")
    with FaultyServer(published, plan=seeded(0.3, (*passing, *UNUSABLE))) as server:
        folder = errors(options.model_copy(update={"base_url": server.url}))
    blame, steps = table(folder, "blame"), table(folder, "decoupling")
    assert sorted(blame["id"]) == sorted(item.id for item in told)
    assert set(blame.filter(status="ok")["blame"]) == {"reason"}
    assert len(steps) == sum(map(len, kinds.values()))
    given = steps.drop_nulls("content")
    assert given["content"].to_list() == given["kind"].to_list()
    assert 0.7 * len(steps) < len(given)
    assert (metrics(folder)["judge/kept/memory"], metrics(folder)["judge/kept/reason"]) == (1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, r"no toy world.*--judge"),
        ({"judge": "checker"}, "leave it out, or name an LLM"),
        ({"judge": "sage", "data": "other"}, r"is about other data.*'test-Paris-Rome' is 'are Paris .* there .* here"),
        ({"judge": "sage", "data": "less"}, r"has no question 'test-Paris-Rome'.*there is: only"),
        ({"judge": "sage", "answers": "data"}, "memreason.import, not of memreason.evaluate"),
    ],
)
def test_what_cannot_be_judged_is_refused(workplace: Path, change: dict[str, str], message: str):
    _, options = case(workplace)
    first, *rest = made.items()
    made.traces(workplace / "other", [first._replace(trace=first.trace._replace(question="are they")), *rest])
    made.traces(workplace / "less", [first._replace(id="only")])
    places = {name: str(workplace / value) for name, value in change.items() if name in ("data", "answers")}
    with pytest.raises(UsageError, match=message):
        errors(ErrorsOptions(**{**options, **change, **places}))
