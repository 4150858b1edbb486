"""What is in a source is in the traces, or told: forms made by hand, and what is bad in them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from memreason.data import Data
from memreason.forms import lettered, splitting
from memreason.importing import import_
from memreason.options import ImportOptions
from memreason.trace import Item, Step, Trace
from runkit.errors import DataError, UsageError

pytestmark = pytest.mark.usefixtures("workplace")


def write(name: str, rows: list[Any]) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(json.dumps(row) for row in rows)
    path.write_text(json.dumps(rows) if path.suffix == ".json" else lines)
    return name


def imported(*sources: str, **given: Any) -> tuple[Path, list[Item]]:
    folder = import_(ImportOptions(data=sources, **given))
    return folder, Data.open(str(folder)).items


def only(rows: list[Any], name: str = "train.jsonl", **given: Any) -> Item:
    _, items = imported(write(name, rows), dev=0, **given)
    assert len(items) == 1
    return items[0]


def dropped(folder: Path) -> list[tuple[Any, ...]]:
    return pl.read_parquet(folder / "tables" / "dropped.parquet").select("row", "step", "reason", "text").rows()


def counts(folder: Path, of: str, split: str = "train") -> dict[str, Any]:
    return pl.read_parquet(folder / "tables" / "counts.parquet").row(
        by_predicate=(pl.col("of") == of) & (pl.col("split") == split), named=True
    )


def published(steps: list[str], answer: Any = "True", question: str = "Is it so?", **other: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, "cot_steps": steps, "split": "train", **other}


def test_published_annotations() -> None:
    rows = [published(["[rag]: Rome lies in Italy.", "[reason]: So [x]: it is so. "]), published([], answer=False)]
    folder, items = imported(write("StrategyQA_train_clean.json", rows), dev=0)
    assert items[0] == Item(
        "StrategyQA_train_clean-1",
        "strategyqa",
        "train",
        Trace("Is it so?", (Step("memory", "Rome lies in Italy."), Step("reason", "So [x]: it is so.")), "True"),
        ("True", "False"),
    )
    assert (items[1].trace.answer, items[1].trace.steps) == ("False", ())
    assert dropped(folder) == []


ODD = [
    ("[rag]:  ", None, "it is empty"),
    ("[reason]: one\ntwo", None, "it has several lines"),
    ("[reason]: The answer is: no", None, "it begins with 'The answer is:', as the answer's line does"),
    ("no tag", None, "it has no tag such as [rag]: or [reason]:"),
    ("[rag] no colon", None, "it has no tag such as [rag]: or [reason]:"),
    ("[reasoning]: so", "reason", "its tag [reasoning] is neither [rag] nor [reason]; --mend-tags reads it as reason"),
    ("[Rag]: so", "memory", "its tag [Rag] is neither [rag] nor [reason]; --mend-tags reads it as memory"),
    ("[reason] and [rag]: so", None, "its tag [reason] and [rag] is neither [rag] nor [reason]"),
    ("[plan]: so", None, "its tag [plan] is neither [rag] nor [reason]"),
    ("[]: so", None, "its tag [] is neither [rag] nor [reason]"),
]


@pytest.mark.parametrize(("step", "meant", "reason"), ODD)
def test_a_step_is_never_relabelled_unasked(step: str, meant: str | None, reason: str) -> None:
    source = write("a.json", [published(["[rag]: a fact", step, "[reason]: so"])])
    folder, items = imported(source, dev=0)
    assert [text for _, text in items[0].trace.steps] == ["a fact", "so"]
    assert [line[:3] for line in dropped(folder)] == [(1, 2, reason)]
    read, kept = counts(folder, "read"), counts(folder, "kept")
    assert (read["steps"], kept["steps"]) == (3, 2)
    folder, items = imported(source, dev=0, mend_tags=True)
    mended = [("so" if meant else None, meant)] if meant else []
    assert [(s.text, s.kind) for s in items[0].trace.steps][1:-1] == mended
    assert len(dropped(folder)) == (not meant)


def test_counts_of_known_rows() -> None:
    memory, reason = "[rag]: a", "[reason]: b"
    rows = [
        [memory, reason],
        [memory],
        [reason, reason],
        [reason, memory],
        [memory, memory, reason],
        [],
        [memory, "[rag]:"],
    ]
    folder, _ = imported(write("a.json", [published(each) for each in rows]), dev=0)
    expected = {
        "rows": 7, "annotated": 6, "steps": 12, "memory": 7, "reason": 5, "other": 0, "blank": 1,
        "memory_only": 2, "reason_only": 1, "ends_in_memory": 3, "memory_first": 2,
    }  # fmt: skip
    assert counts(folder, "read").items() >= expected.items()
    assert counts(folder, "kept").items() >= (expected | {"steps": 11, "memory": 6, "blank": 0}).items()


LETTERED = [
    ("Where? Options: A.bank B.new york C.den ", "Where?", ("bank", "new york", "den")),
    ("Where? A. A bank. B. In D. C.", "Where?", ("A bank.", "In D. C.")),
    ("Who? A. E.g. Bo. B. I. C. D. Di. Ed.", "Who?", ("E.g. Bo.", "I.", "D. Di. Ed.")),
    ("What is vitamin A. or so?", "What is vitamin A. or so?", ()),
    ("No options", "No options", ()),
    ("Who? B. Bo A. Al", "Who? B. Bo A. Al", ()),
]


@pytest.mark.parametrize(("question", "stem", "options"), LETTERED)
def test_options_are_taken_from_the_question(question: str, stem: str, options: tuple[str, ...]) -> None:
    assert lettered.taken_apart(question) == (stem, options)


def test_published_answers_are_true_or_false() -> None:
    said = ["true", "yes", "No", False, "False."]
    _, items = imported(write("a.json", [published([], answer) for answer in said]), dev=0)
    assert [item.trace.answer for item in items] == ["True", "True", "False", "False", "False"]
    assert {item.choices for item in items} == {("True", "False")}


def test_a_line_that_begins_as_the_answer_does_is_dropped() -> None:
    row = LINES | {"answer": "Ann has 3.\nThe answer is: 3 + 6 = 9.\n#### 9"}
    folder, items = imported(write("a.jsonl", [row]), dev=0)
    assert [step.text for step in items[0].trace.steps] == ["Ann has 3."]
    assert [line[:3] for line in dropped(folder)] == [
        (1, 2, "it begins with 'The answer is:', as the answer's line does")
    ]


def test_lettered_questions_have_their_options_as_choices() -> None:
    row = published([], "B", "Question: Where? Options: A.bank B.den ")
    item = only([row], "commonsense_qa_test_CC.json")
    assert (item.trace.question, item.choices) == ("Where? Options: A.bank B.den", ("A. bank", "B. den"))
    assert (item.dataset, item.trace.answer) == ("commonsenseqa", "B")


STRATEGY = {"qid": "q7", "question": "Is it so?", "answer": True, "facts": "It is."}
TASK = {"input": "Is it so?", "target_scores": {"Yes": 0, "No": 1}, "target": "No. It is not."}
JSONL = {
    "id": "7",
    "question": {"stem": "Where?", "choices": [{"label": "A", "text": "bank"}, {"label": "B", "text": "den"}]},
    "answerKey": "B",
}
HUB = {"id": "7", "question": "Where?", "choices": {"label": ["A", "B"], "text": ["bank", "den"]}, "answerKey": "B"}
OWN = {
    "question": "Is it so?",
    "answer": "yes",
    "choices": ["yes", "no"],
    "steps": [{"kind": "memory", "text": "It is."}, {"kind": "reason", "text": "So it is."}],
}
LINES = {"question": "How many?", "answer": "Ann has 3.\nBo has 2*3 = <<2*3=6>>6.\nThe sum is 3 + 6 = $9.\n#### 9"}
SO = Trace("Is it so?", (), "True")
OWN_STEPS = Step("memory", "It is."), Step("reason", "So it is.")
SUM = Step("memory", "Ann has 3."), Step("reason", "Bo has 2*3 = 6."), Step("reason", "The sum is 3 + 6 = $9.")
WHERE = Item("7", "commonsenseqa", "train", Trace("Where? Options: A.bank B.den", (), "B"), ("A. bank", "B. den"))
FORMS: list[tuple[dict[str, Any], Item]] = [
    (STRATEGY, Item("q7", "strategyqa", "train", SO, ("True", "False"))),
    (TASK, Item("train-1", "strategyqa", "train", SO._replace(answer="No"), ("Yes", "No"))),
    (JSONL, WHERE),
    (HUB, WHERE),
    (OWN, Item("train-1", "mine", "train", SO._replace(steps=OWN_STEPS, answer="yes"), ("yes", "no"))),
    ({"question": "Is it so?", "answer": True}, Item("train-1", "mine", "train", SO, ("True", "False"))),
    (LINES, Item("train-1", "mine", "train", Trace("How many?", SUM, "9"))),
]


@pytest.mark.parametrize(("row", "expected"), FORMS)
@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_forms_are_recognised(row: dict[str, Any], expected: Item, suffix: str) -> None:
    assert only([row], f"mine/train{suffix}") == expected


def test_a_parquet_of_own_traces() -> None:
    Path("mine").mkdir()
    pl.DataFrame([OWN | {"split": "validation"}]).write_parquet("mine/a.parquet")
    _, items = imported("mine")
    assert (items[0].trace, items[0].split, items[0].id) == (FORMS[4][1].trace, "dev", "a-1")


TRUTHFUL = {"question": "What?", "mc1_targets": {"choices": ["right", "wrong", "odd", "off"], "labels": [1, 0, 0, 0]}}


def test_options_in_an_order_that_the_seed_decides() -> None:
    def read(seed: int, rows: list[Any] | None = None) -> Item:
        return only(rows or [TRUTHFUL], seed=seed)

    first = read(0)
    texts = [choice[3:] for choice in first.choices]
    assert sorted(texts) == ["odd", "off", "right", "wrong"]
    assert first.trace.question == "What? " + " ".join(first.choices)
    assert first.choices["ABCD".index(first.trace.answer or "")][3:] == "right"
    assert read(0) == first
    flat = {"question": "What?", "mc1_targets": {"right": 1, "wrong": 0, "odd": 0, "off": 0}}
    assert read(0, [flat]).choices == first.choices
    assert len({read(seed).trace.answer for seed in range(8)}) > 1


BAD = [
    ([published([], "C", "Who? A. Al B. Bo")], r"row 1, field 'answer': 'C': is none of the question's options"),
    ([published([], "A", "Who?")], r"field 'answer': 'A': is none of the question's options \(there are 0\)"),
    ([published(["[rag]: a"]), {"question": "Is it?", "answer": "True"}], r"row 2, field 'cot_steps': is missing"),
    (
        [published([]), published([], "Maybe")],
        r"row 2, field 'answer': 'Maybe': .* none of the choices 'True', 'False'",
    ),
    ([published([], "")], r"row 1, field 'answer': is empty"),
    ([JSONL | {"answerKey": "C"}], r"field 'answerKey': 'C': is none of the choices A, B"),
    ([JSONL | {"answerKey": ""}], r"is none of the choices A, B"),
    ([TASK | {"target_scores": {"Yes": 1, "No": 1}}], r"field 'target_scores': .* several targets have the highest"),
    ([TRUTHFUL | {"mc1_targets": {"a": 1, "b": 1}}], r"just one of them with label 1"),
    ([OWN | {"answer": "maybe"}], r"field 'answer': 'maybe': answer 'maybe' is none of the choices 'yes', 'no'"),
    ([OWN | {"steps": [{"kind": "rag", "text": "a"}]}], r"'steps.0.kind': 'rag': should be 'memory' or 'reason'"),
    ([OWN | {"steps": [{"kind": "memory", "text": " "}]}], r"'steps.0.text': ' ': it is empty, expected one line"),
    ([OWN | {"steps": [{"kind": "memory", "text": "a\nb"}]}], r"it has several lines, expected one line"),
    ([OWN | {"steps": [{"kind": "memory", "text": "The answer is: yes"}]}], r"it begins with 'The answer is:'"),
    ([LINES, {"question": "How many?", "answer": "3"}], r"row 2, field 'answer': '3': its last line is not '#### X'"),
    ([LINES | {"answer": "Three.\n####"}], r"its last line is not '#### X'"),
]


@pytest.mark.parametrize(("rows", "told"), BAD)
def test_bad_rows_are_named(rows: list[Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        imported(write("a.json", rows))


def test_rows_set_aside_are_told() -> None:
    good = published(["[rag]: a", "[reason]:"])
    source = write("a.json", [good, published([], "C", "Who? A. Al B. Bo"), good, 7])
    folder, items = imported(source, dev=0, on_bad_row="quarantine")
    assert [item.id for item in items] == ["a-1", "a-3"]
    lines = dropped(folder)
    assert [line[:2] for line in lines] == [(2, None), (4, None), (1, 2), (3, 2)]
    assert lines[0][2] == "answer: 'C': is none of the question's options (there are 2)"
    assert lines[1][2].startswith("expected an object")
    assert counts(folder, "read", "")["rows"] == 2
    assert counts(folder, "read")["rows"] == counts(folder, "kept")["rows"] == 2


def test_columns_of_no_known_form_are_named() -> None:
    source = write("a.jsonl", [{"prompt": "Is it?", "label": "yes"}])
    with pytest.raises(DataError, match=r"a\.jsonl: its columns are those of no form that is known \(prompt, label\)"):
        imported(source)
    with pytest.raises(DataError, match=r"no column 'question', 'answer'; columns there: prompt, label"):
        imported(source, form="traces")
    with pytest.raises(UsageError, match=r"--data names a\.jsonl more than once"):
        imported(source, source)
    with pytest.raises(UsageError, match=r"did you mean 'a\.jsonl'"):
        imported("a.json")


def test_ids_that_two_sources_share_are_named() -> None:
    sources = write("a/train.jsonl", [LINES]), write("b/train.jsonl", [LINES])
    with pytest.raises(DataError, match=r"b/train\.jsonl, row 1: id 'train-1' is one of a/train\.jsonl, too"):
        imported(*sources)
    _, items = imported(write("a/train.jsonl", [LINES | {"id": 1}]), write("b/train.jsonl", [LINES | {"id": 2}]), dev=0)
    assert [(item.id, item.dataset) for item in items] == [("1", "a"), ("2", "b")]


def test_splits_by_row_by_name_or_as_asked() -> None:
    train, test = write("mine/train.jsonl", [OWN] * 3), write("mine/test.jsonl", [OWN | {"split": "odd one"}, OWN])
    _, items = imported(train, test, dev=0)
    assert [item.split for item in items] == ["train"] * 3 + ["odd one", "test"]
    _, items = imported("mine", split="test", as_split="test")
    assert [item.split for item in items] == ["test", "test"]
    _, items = imported(train, dev=0, limit=2)
    assert len(items) == 2


def questions(count: int, answers: str = "yyyn") -> list[Item]:
    return [
        Item(str(at), "a", "train", Trace(f"Is it {at}?", (), answers[at % len(answers)])) for at in range(count)
    ]  # fmt: skip


def drawn(items: list[Item], share: float = 0.1, seed: int = 0) -> set[str]:
    return splitting.dev_of(items, [item.trace.question for item in items], share, seed)


def test_dev_has_its_share_of_every_answer() -> None:
    items = questions(400)
    chosen = drawn(items)
    assert Counter(item.trace.answer for item in items if item.id in chosen) == {"y": 30, "n": 10}
    assert drawn(items[::-1]) == chosen == drawn(items)
    assert len(drawn(items, seed=1)) == 40
    assert drawn(items, seed=1) != chosen
    assert drawn(items, 0) == set()
    assert len(drawn(items, 1)) == 400
    unique = [item._replace(trace=item.trace._replace(answer=item.id)) for item in items]
    assert len(drawn(unique)) == 40, "where every answer is another one, too"
    assert drawn([]) == set()


def test_a_question_that_stands_twice_is_in_one_split() -> None:
    items = questions(50)
    again = [item._replace(id=f"again {item.id}") for item in items]
    chosen = drawn([*items, *again], 0.2)
    assert len(chosen) == 20
    assert all((item.id in chosen) == (f"again {item.id}" in chosen) for item in items)


def test_questions_of_test_that_are_asked_in_training_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    train = [OWN | {"question": f"Is it {each}?"} for each in "abcdefghij"]
    test = [OWN | {"question": "is it  A"}, OWN | {"question": "Is it z?"}]
    folder, items = imported(write("mine/train.jsonl", train), write("mine/test.jsonl", test), dev=0.2)
    assert Counter(item.split for item in items) == {"train": 8, "dev": 2, "test": 2}
    assert "test questions that are in train or dev, too: 1: 'is it  A'" in capsys.readouterr().err
    own = write("mine/dev.jsonl", [OWN | {"question": "Is it y?"}])
    _, items = imported("mine/train.jsonl", own, dev=0.2)
    assert Counter(item.split for item in items) == {"train": 10, "dev": 1}, "what has a dev split keeps it"
    assert folder.is_dir()


def test_the_same_seed_gives_the_same_bytes() -> None:
    source = write("mine/train.jsonl", [OWN | {"question": f"Is it {at}?"} for at in range(40)])
    folders = [imported(source, out=Path(name), seed=seed)[0] for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    bytes_ = [(folder / "tables" / "traces.parquet").read_bytes() for folder in folders]
    assert bytes_[0] == bytes_[1] != bytes_[2]
