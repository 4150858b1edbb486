"""Steps by a language model over real HTTP: what is recalled reaches the steps, and what is not good is told."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from llmkit import BudgetSpent
from memreason import annotate as stage
from memreason.annotate import annotate
from memreason.annotating import checks, rounds
from memreason.annotating.prompts import Plan
from memreason.data import Data
from memreason.options import AnnotateOptions
from memreason.trace import Item, Step, Trace
from runkit.errors import UsageError

from tests.packages.memreason import made, teacher
from tests.packages.memreason.teacher import Body, asked, form, memory, plan, reason, truthful
from tests.shared.llmkit.server import PASSING, UNUSABLE, FaultyServer, prompt_of, seeded

pytestmark = pytest.mark.usefixtures("hurried", "workplace")

TRAIN = 15
CALLS = 2 * TRAIN + len(made.PLACES)  # a plan and a conclusion each, and each town once


@pytest.fixture
def data(workplace: Path) -> str:
    """Questions without steps to train on, and others that are not to be annotated."""
    bare = [item._replace(trace=item.trace._replace(steps=())) for item in made.items("train")]
    return str(made.traces(workplace / "data", [*bare, *made.items("test")]))


def options(data: str, server: FaultyServer | str, **given: Any) -> AnnotateOptions:
    url = server if isinstance(server, str) else server.url
    asked = {"teacher": "parrot", "base_url": url, "key_variable": "none", "timeout": 2.0}
    return AnnotateOptions(**{"data": data, **asked, **given})


def items(folder: Path | None, split: str = "train") -> list[Item]:
    return [item for item in Data.open(str(folder)).items if item.split == split]


def table(folder: Path | None, name: str) -> pl.DataFrame:
    return pl.read_parquet(Path(str(folder)) / "tables" / f"{name}.parquet")


def reasons(folder: Path | None) -> dict[int, str]:
    return dict(table(folder, "dropped").select("row", "reason").iter_rows())


def metrics(folder: Path | None) -> dict[str, float]:
    lines = map(json.loads, (Path(str(folder)) / "journal.jsonl").read_text().splitlines())
    found = [line["values"] for line in lines if line.get("event") == "metrics" and line.get("step") is None]
    return {name: value for each in found for name, value in each.items()}


def test_what_is_recalled_becomes_the_step(data: str) -> None:
    with FaultyServer(truthful) as server:
        folder = annotate(options(data, server))
    found = items(folder)
    assert len(found) == TRAIN
    for item in found:
        first, second = teacher.towns(item.trace.question)
        assert item.trace.steps == (
            Step("memory", f"{first} is a town in {made.PLACES[first]}."),
            Step("memory", f"{second} is a town in {made.PLACES[second]}."),
            Step("reason", "The countries are compared."),
        )
    original = {item.id: item for item in made.items("train")}
    assert all(item.trace._replace(steps=()) == original[item.id].trace._replace(steps=()) for item in found)
    assert items(folder, "test") == made.items("test"), "other splits are passed on"
    assert teacher.GUESS not in "".join(table(folder, "traces")["texts"].explode())
    counts = table(folder, "counts").select("of", "rows", "annotated", "memory", "reason", "memory_first").rows()
    assert counts == [("read", TRAIN, 0, 0, 0, 0), ("kept", TRAIN, TRAIN, 2 * TRAIN, TRAIN, TRAIN)]
    assert len(table(folder, "dropped")) == 0


def test_who_is_asked_what(data: str) -> None:
    with FaultyServer(truthful) as server:
        folder = annotate(options(data, server))
    assert Counter(map(form, server.bodies)) == {"Plan": TRAIN, "Fact": len(made.PLACES), "Conclusion": TRAIN}
    for body in server.bodies:
        told = "The correct answer" in asked(body)
        assert told == (form(body) == "Plan"), "nobody but the planner is told the answer"
        if form(body) == "Fact":
            assert asked(body).startswith("Where is")
            assert "one country" not in prompt_of(body), "nor what it is for"
        if form(body) == "Conclusion":
            assert teacher.GUESS not in prompt_of(body)
            assert "The answers there are: yes, no" in asked(body)
    assert server.bodies[0]["temperature"] == 0
    lines = [json.loads(line) for line in (Path(str(folder)) / "exchanges.jsonl").read_text().splitlines()]
    assert len(lines) == CALLS
    cost = {"rows": 15, "kept": 15, "dropped": 0, "errors": 0, "refused": 0, "plans": 15, "calls": CALLS}
    tokens = {"prompt_tokens": 11 * CALLS, "completion_tokens": 7 * CALLS, "passed_on": 15}
    assert metrics(folder).items() >= (cost | tokens).items()


Q = "Where is Rome?"
BAD_PLANS = [
    (plan(), ["there is no step of kind memory", "there is no step of kind reason"]),
    (plan(memory(Q)), ["there is no step of kind reason", "the last step is not of kind reason"]),
    (plan(reason("So.")), ["there is no step of kind memory"]),
    (plan(reason("So."), memory(Q)), ["the last step is not of kind reason"]),
    (plan(memory(Q), reason(" ")), ["step 2: it is empty"]),
    (plan(memory(Q), reason("a\nb")), ["step 2: it has several lines"]),
    (
        plan(memory(Q), reason("The answer is: B")),
        ["step 2: it begins with 'The answer is:', as the answer's line does"],
    ),
    (plan(memory(""), reason("So.")), ["step 1, its question: it is empty"]),
    (plan(memory("a\nb"), reason("So.")), ["step 1, its question: it has several lines"]),
    (plan(*[memory(f"{Q} {at}") for at in range(16)], reason("So.")), ["there are 17 steps, at most 16 are wanted"]),
    (plan(memory(Q), memory(f" {Q}"), reason("So.")), ["two memory steps ask the same question"]),
    (plan(memory(Q), reason("I'm sorry, but I can't help.")), ["step 2 declined to answer"]),
    (plan(memory(Q, ""), reason("So."), memory("Where is Ulm?"), reason("So.")), []),
]


@pytest.mark.parametrize(("said", "faults"), BAD_PLANS)
def test_what_must_hold_of_a_plan(said: str, faults: list[str]) -> None:
    assert checks.of_plan(Plan.model_validate_json(said), "free") == faults
    both = checks.of_plan(Plan.model_validate_json(said), "memory-first")
    assert both[: len(faults)] == faults or "not all memory steps come before the reason steps" in both


YES, LETTER = ("yes", "no"), ("A. bank", "B. den", "I. inn")
SAID = [
    ("The answer is yes.", "yes", YES, True),
    ("So the right answer would be true", "yes", YES, True),
    ("The answer is no.", "yes", YES, False),
    ("Yes was his answer to everything.", "yes", YES, False),
    ("The answers are eyes.", "yes", YES, False),
    ("So it is option B.", "B", LETTER, True),
    ("This rules out A, so (B) is left.", "B", LETTER, True),
    ("Therefore B is the best.", "B", LETTER, True),
    ("Dens hold vitamin B in their walls.", "B", LETTER, False),
    ("option B is a den", "B", LETTER, True),
    ("This rules out option A.", "B", LETTER, False),
    ("A den is where bears sleep.", "A", LETTER, False),
    ("Dens are dark.", "B", LETTER, False),
    ("I would sleep in it, as I'm tired.", "I", LETTER, False),
    ("The answer is 72.", "72", (), True),
    ("The answer is 720.", "72", (), False),
    ("There are 72 of them.", "72", (), False),
]


@pytest.mark.parametrize(("text", "gold", "choices", "told"), SAID)
def test_no_step_but_the_last_says_which_answer_is_right(
    text: str, gold: str, choices: tuple[str, ...], told: bool
) -> None:
    item = Item("a", "a", "train", Trace("Is it?", (), gold), choices)
    early = checks.of_steps(item, (Step("memory", text), Step("reason", "So.")))
    assert early == ["step 1 says which answer is right before the last step"] * told
    assert checks.of_steps(item, (Step("memory", "A fact."), Step("reason", text))) == []


def test_a_bad_plan_is_made_anew_with_its_faults_told(data: str) -> None:
    """One question gets a bad plan the first time, another one whenever it is asked."""
    said = plan(memory(Q))

    def answer(body: Body) -> str:
        if form(body) != "Plan" or teacher.towns(asked(body))[:2] not in (["Lyon", "Paris"], ["Bonn", "Ulm"]):
            return truthful(body)
        return said if "Bonn" in asked(body) or len(body["messages"]) == 2 else teacher.good_plan(body)

    with FaultyServer(answer) as server:
        folder = annotate(options(data, server, tries=2))
    (number,) = [at for at, item in enumerate(made.items("train"), start=1) if item.id == "train-Bonn-Ulm"]
    fault = "there is no step of kind reason; the last step is not of kind reason"
    assert reasons(folder) == {number: f"{fault} (the last of 2 tries)"}
    kept = {item.id: item for item in items(folder)}
    assert len(kept) == TRAIN - 1
    assert kept["train-Lyon-Paris"].trace.kinds() == ("memory", "memory", "reason")
    again = [body for body in server.bodies if form(body) == "Plan" and len(body["messages"]) > 2]
    assert len(again) == 2
    for body in again:
        assert [each["role"] for each in body["messages"]] == ["system", "user", "assistant", "user"]
        assert json.loads(body["messages"][2]["content"]) == json.loads(said)
        assert "- there is no step of kind reason\n" in body["messages"][3]["content"]
        assert body["temperature"] == pytest.approx(0.3)


def test_steps_from_which_another_answer_follows_are_rejected(data: str) -> None:
    """Somebody who takes Rome for a town in Spain gets plans whose steps lead elsewhere."""

    def mistaken(body: Body) -> str:
        if form(body) == "Fact" and "Rome" in asked(body):
            return json.dumps({"fact": "Rome is a town in France."})
        return truthful(body)

    with FaultyServer(mistaken) as server:
        folder = annotate(options(data, server, tries=1))
    assert len(items(folder)) == TRAIN - 3
    rejected = table(folder, "dropped")
    assert {tuple(sorted(teacher.towns(text))) for text in rejected["text"]} == {
        ("Milan", "Rome"), ("Paris", "Rome"), ("Lyon", "Rome")
    }  # fmt: skip
    assert set(rejected["reason"]) == {
        "whoever saw only the question and these steps answered 'No.' instead of 'yes'",
        "whoever saw only the question and these steps answered 'Yes.' instead of 'no'",
    }


def test_a_fact_that_is_none_is_no_step(data: str) -> None:
    fact = "I'm sorry, I cannot help with that."

    def silent(body: Body) -> str:
        return json.dumps({"fact": fact}) if form(body) == "Fact" and "Ulm" in asked(body) else truthful(body)

    with FaultyServer(silent) as server:
        folder = annotate(options(data, server, tries=1))
    assert len(items(folder)) == TRAIN - 5
    assert all("declined to answer" in reason for reason in reasons(folder).values())
    assert (metrics(folder)["refused"], metrics(folder)["dropped"]) == (5, 5)


@pytest.mark.parametrize(
    ("said", "none"),
    [
        ("I'm sorry, but that I cannot say.", True),
        ("I don\u2019t know.", True),
        ("As an AI I have no data.", True),
        ("Unknown.", True),
        ("N/A", True),
        ("", True),
        ("Rome is old.\nVery old.", True),
        ("Unknown Pleasures is an album of 1979.", False),
        ("Sorry Day is held in Australia in May.", False),
        ("None of the planets but Earth is known to bear life.", False),
    ],
)
def test_what_is_no_fact(said: str, none: bool) -> None:
    item = made.items()[0]
    assert bool(checks.of_steps(item, (Step("memory", said), Step("reason", "So.")))) == none


def about(town: str, what: str, fault: str) -> Callable[[str, int], str | None]:
    """A fault whenever a prompt with these words is asked."""
    return lambda prompt, repetition: fault if town in prompt and what in prompt else None


@pytest.mark.parametrize(
    ("what", "fault", "told"),
    [
        ("Write the steps", "400", "error: "),
        ("Where is", "400", "error: "),
        ("Which answer follows", "400", "error: "),
        ("Write the steps", "refuse", "the teacher declined to answer: the answer was declined: I cannot help"),
        ("Write the steps", "malformed", "the teacher's answer cannot be used: there is no JSON object"),
        ("Where is", "length", "the teacher's answer cannot be used: the answer was cut off"),
    ],
)
def test_a_call_that_fails_is_told_and_harms_nobody_else(data: str, what: str, fault: str, told: str) -> None:
    with FaultyServer(truthful, plan=about("Milan", what, fault)) as server:
        folder = annotate(options(data, server, tries=1))
    assert len(items(folder)) == TRAIN - 5
    assert len(reasons(folder)) == 5
    assert all(reason.startswith(told) for reason in reasons(folder).values())
    assert metrics(folder)["errors"] == 5 * (fault == "400")


def test_with_a_third_of_faults_every_row_is_done_or_rejected(data: str) -> None:
    faults = [fault for fault in (*PASSING, *UNUSABLE) if fault != "hang"]
    with FaultyServer(truthful, plan=seeded(0.3, faults)) as server:
        folder = annotate(options(data, server))
    kept, dropped = items(folder), reasons(folder)
    assert len(kept) + len(dropped) == TRAIN
    assert all(dropped.values())
    with FaultyServer(truthful) as server:
        whole = {item.id: item for item in items(annotate(options(data, server, out=Path("elsewhere/run"))))}
    assert kept == [whole[item.id] for item in kept], "what is kept is as if nothing had happened"
    assert len(kept) > TRAIN // 2
    assert metrics(folder)["calls"] > CALLS


def test_a_budget_that_is_spent_is_no_loss(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_PIECE", 4)
    with FaultyServer(truthful) as server:
        for most in (2, 5, 9):
            with pytest.raises(BudgetSpent, match=r"calls: \d+ of \d+ used"):
                annotate(options(data, server, max_calls=most))
            assert server.calls == (seen := server.answered.total())
            assert seen <= 2 + 5 + 9
        with monkeypatch.context() as patch:
            patch.setattr(rounds, "_conclude", killed(rounds._conclude))  # type: ignore[reportPrivateUsage]
            with pytest.raises(KeyboardInterrupt):
                annotate(options(data, server))
        assert server.calls < CALLS
        folder = Path(str(annotate(options(data, server))))
    assert max(server.asked.values()) == 1, "nothing is asked twice"
    assert server.calls == metrics(folder)["calls"]
    with FaultyServer(truthful) as server:
        fresh = Path(str(annotate(options(data, server, out=Path("elsewhere/run")))))
        assert annotate(options(data, server, out=fresh)) == fresh
        assert server.calls == CALLS, "a finished run asks nothing"
    for name in ("traces", "counts", "dropped"):
        parquet = Path("tables") / f"{name}.parquet"
        assert (folder / parquet).read_bytes() == (fresh / parquet).read_bytes(), name


def killed(real: Callable[..., None]) -> Callable[..., None]:
    """Works once, then is interrupted."""
    calls = Counter[str]()

    def conclude(*given: Any) -> None:
        calls["all"] += 1
        if calls["all"] > 1:
            raise KeyboardInterrupt
        real(*given)

    return conclude


def test_a_key_is_never_written_down(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHERS_KEY", "sk-very-secret")
    with FaultyServer(truthful, plan=seeded(0.3, ["500", "malformed", "400"])) as server:
        annotate(options(data, server, key_variable="TEACHERS_KEY"))
        assert server.keys[0] == "Bearer sk-very-secret"
    written = [path for path in Path().rglob("*") if path.is_file()]
    assert any(path.name == "exchanges.jsonl" for path in written)
    assert not [path for path in written if b"very-secret" in path.read_bytes()]


def test_a_forecast_asks_nothing(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyServer(truthful) as server:
        assert annotate(options(data, server, dry_run=True, limit=7)) is None
        assert server.calls == 0
    said = capsys.readouterr().out
    assert "parrot: 7 plans, 0 answered already: 7 requests, at most" in said
    assert "up to 3 times where checks fail" in said


def test_memory_first_is_asked_for_and_held_to(data: str) -> None:
    mixed = plan(memory(Q), reason("So it is."), memory("Where is Ulm?"), reason("So."))
    with FaultyServer(lambda body: mixed if form(body) == "Plan" else truthful(body)) as server:
        folder = annotate(options(data, server, order="memory-first", tries=1, limit=3))
        assert "All memory steps come first" in asked(server.bodies[0])
        assert server.calls == 3
    assert reasons(folder) == dict.fromkeys((1, 2, 3), "not all memory steps come before the reason steps")
    assert items(folder) == []
    assert len(items(folder, "test")) == TRAIN


def test_steps_that_are_there_are_kept_unless_asked_anew(data: str) -> None:
    with pytest.raises(UsageError, match=r"all rows of split test have steps; --redo asks anew"):
        annotate(options(data, "http://localhost:1/v1", splits=("test",)))
    with pytest.raises(UsageError, match=r"split tast: .* did you mean 'test'"):
        annotate(options(data, "http://localhost:1/v1", splits=("tast",)))
    with FaultyServer(truthful) as server:
        folder = annotate(options(data, server, splits=("test",), redo=True, limit=4))
    found = items(folder, "test")
    assert [item.id for item in found] == [item.id for item in made.items("test")[:4]], "a limit limits"
    assert all(item.trace.steps[0].text.endswith(".") for item in found)
    assert len(items(folder)) == TRAIN
