"""Grades, shares, intervals and paired tests, against numbers worked out by hand or by formulas written out anew."""

from math import comb, sqrt

import numpy as np
import polars as pl
import pytest
from memreason import arms, comparing, grading, measured
from memreason.asking import Said
from memreason.codec import Codec
from memreason.trace import Item, Step, Trace
from memreason.world import World
from memreason.world.content import Content
from runkit.errors import DataError, UsageError

from tests.packages.memreason import made

CODEC = Codec(made.tokenizer(), arms.scheme("typed", general=1, special=2))


def _frame(rows: list[dict]) -> pl.DataFrame:
    return grading.frame(rows)


def _steps(*kinds: str) -> tuple[Step, ...]:
    return tuple(Step(kind, "Ulm lies in Germany") for kind in kinds)


# Grading


def test_a_right_answer_is_graded_by_its_line():
    item = made.items()[0]
    ids = CODEC.render(item.trace)
    row = grading.graded(item, Said(ids.ids[ids.prompt :], "eos", -0.5), CODEC, "typed")
    assert (row["answer"], row["gold"], row["correct"], row["status"]) == ("no", "no", True, "ok")
    assert row["kinds"] == ["memory", "memory", "reason"]
    assert row["texts"] == [step.text for step in item.trace.steps]
    assert (row["problems"], row["formed"]) == ([], [True] * 3)
    assert row["block_tokens"] == 4 * (1 + 2)
    assert row["prompt_ids"] == ids.ids[: ids.prompt]


@pytest.mark.parametrize(
    ("answer", "read", "correct"), [("yes", "yes", False), ("Paris", None, False), (None, None, False)]
)
def test_what_cannot_be_read_is_invalid_and_not_wrong(answer: str | None, read: str | None, correct: bool):
    item = made.items()[0]
    ids = CODEC.render(item.trace._replace(answer=answer or "no")).ids
    if answer is None:  # cut off before the answer's block
        ids = ids[: ids.index(CODEC.block("answer")[1]) - 1]
    prompt = len(CODEC.prompt(item.trace.question))
    row = grading.graded(item, Said(ids[prompt:], "eos" if answer else "length", None), CODEC, "typed")
    assert (row["answer"], row["correct"]) == (read, correct)
    assert row["status"] == ("ok" if read else "invalid")
    assert row["kinds"] == ["memory", "memory", "reason"]


def test_another_end_of_text_token_of_the_model_is_no_part_of_the_answer():
    """Chat models end with a token of their own; here <bos> plays it."""
    item = made.items()[0]
    ids = CODEC.render(item.trace).ids[len(CODEC.prompt(item.trace.question)) :]
    other = [*ids[:-1], CODEC.tokenizer.bos_token_id]
    row = grading.graded(item, Said(other, "eos", None), CODEC, "typed")
    assert (row["correct"], row["problems"], row["new_ids"]) == (True, [], other)


def test_a_question_without_room_counts_and_says_why():
    row = grading.graded(made.items()[0], Said([], "context", None), CODEC, "typed")
    assert (row["status"], row["correct"], row["problems"]) == ("invalid", False, [grading.NO_ROOM])


def test_a_gold_answer_that_is_no_choice_is_an_error():
    item = made.items()[0]._replace(choices=("A", "B"))
    with pytest.raises(DataError, match="'no' is none of the choices 'A', 'B'"):
        grading.graded(item, Said([], "context", None), CODEC, "typed")


# Shares


def _rows() -> list[dict]:
    """Four answers: two right, one wrong, one invalid; 3, 1, 2 and 0 steps; one has a problem."""
    items = made.items()[:4]
    said = [
        Trace("", _steps("memory", "memory", "reason"), items[0].trace.answer),
        Trace("", _steps("reason"), items[1].trace.answer),
        Trace("", _steps("memory", "reason"), "yes" if items[2].trace.answer == "no" else "no"),
        Trace("", (), None),
    ]
    rows = [made.answer(item, trace, codec=CODEC) for item, trace in zip(items, said, strict=True)]
    rows[3]["problems"] = ["there is no answer"]
    return rows


def test_rates_by_hand():
    rates = measured.rates(_frame(_rows()), ("memory", "reason"))
    assert (rates["questions"], rates["accuracy"], rates["invalid"], rates["well_formed"]) == (4, 0.5, 0.25, 0.75)
    assert (rates["steps"], rates["memory_steps"], rates["reason_steps"]) == (6 / 4, 3 / 4, 3 / 4)
    assert rates["memory_share"] == 3 / 6
    assert rates["block_tokens"] == (4 + 2 + 3 + 1) * 3 / 4
    assert (rates["accuracy_low"], rates["accuracy_high"]) == pytest.approx(_wilson(2, 4))


def test_shares_that_do_not_apply_are_not_there():
    rows = _frame(_rows())
    assert "memory_share" not in measured.rates(rows, ())
    assert "memory_share" not in measured.rates(rows, ("step",))
    assert measured.rates(rows, ("step",))["step_steps"] == 0
    assert "memory_share" not in measured.rates(rows[3:], ("memory", "reason"))


def test_groups_go_by_what_tells_them_apart():
    rows = _frame(_rows())
    assert list(measured.groups(rows)) == ["test"]
    other = rows.with_columns(dataset=pl.lit("rivers"))
    assert list(measured.groups(pl.concat([rows, other]))) == ["capitals", "rivers"]
    dev = rows.with_columns(split=pl.lit("dev"))
    assert list(measured.groups(pl.concat([rows, dev]))) == ["test", "dev"]
    assert list(measured.groups(pl.concat([rows, other, dev]))) == ["capitals test", "rivers test", "capitals dev"]


def _wilson(hits: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    middle = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * sqrt(hits * (n - hits) / n + z * z / 4)
    return middle - half, middle + half


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (3, 10), (913, 1000)])
def test_intervals_are_wilsons(hits: int, n: int):
    assert measured.wilson(hits, n) == pytest.approx(_wilson(hits, n), abs=1e-12)
    assert measured.wilson(0, 0) == (0, 1)


# A toy world

WORLD = World(
    Content(
        people=("Ann", "Bob", "Cid"), removed=(), years=("1900", "1901"), cities=("Aton", "Bton"),
        regions=("Aland", "Bland"), born={"Ann": "1900", "Bob": "1901", "Cid": "1901"},
        lives={"Ann": "Aton", "Bob": "Bton", "Cid": "Aton"}, lies={"Aton": "Aland", "Bton": "Bland"}, mentor={},
    )
)  # fmt: skip
OLDER = "was Ann born before Bob ?"


def _told(number: int, steps: list[tuple[str, str]], question: str = OLDER) -> dict:
    item = Item(str(number), "toy", "test", Trace(question, (), "yes"), ("yes", "no"))
    row = made.answer(item, Trace(question, (), "yes"), codec=CODEC)
    return row | {"kinds": [kind for kind, _ in steps], "texts": [text for _, text in steps]}


def _toy() -> pl.DataFrame:
    """3 answers: all right; one fact false and so the conclusion does not follow; a fact given, junk, no conclusion."""
    given = "given that Ann was born in 1900 . " + OLDER
    return _frame(
        [
            _told(0, [("memory", "Ann was born in 1900"), ("memory", "note that Bob was born in 1901"),
                      ("reason", "so 1900 compared to 1901 is earlier")]),
            _told(1, [("memory", "Ann was born in 1901"), ("reason", "Bob was born in 1901"),
                      ("reason", "so 1900 compared to 1901 is earlier")]),
            _told(2, [("memory", "Cid lives in Aton"), ("reason", "what a day")], given),
        ]
    )  # fmt: skip


def test_what_the_checker_knows_by_hand():
    answers = _toy()
    steps = measured.checked(answers, WORLD)
    assert steps["content"].to_list() == ["memory", "memory", "reason", "memory", "memory", "reason", "memory", "other"]
    assert steps["true"].to_list() == [True, True, True, False, True, False, True, None]
    assert steps["step"].to_list() == [1, 2, 3, 1, 2, 3, 1, 2]
    rates = measured.world_rates(answers, steps, WORLD, ("memory", "reason"))
    # Needed: Ann and Bob, Ann and Bob, Bob (Ann is given); stated: both, Bob alone, none.
    assert rates["memory_recall"] == pytest.approx(3 / 5)
    assert rates["memory_precision"] == pytest.approx(4 / 5)
    assert rates["reason_valid"] == pytest.approx(1 / 2)
    assert rates["label_accuracy"] == pytest.approx(6 / 8)
    assert "label_accuracy" not in measured.world_rates(answers, steps, WORLD, ())


def test_a_kind_that_says_nothing_counts_as_what_it_stands_for_most_often():
    steps = measured.checked(_toy(), WORLD)
    assert measured.label_accuracy(steps.with_columns(kind=pl.lit("step"))) == pytest.approx(5 / 8)
    assert measured.label_accuracy(steps.with_columns(kind=pl.lit(""))) == 0
    plans = pl.Series(["a", "a", "b", "a", "a", "b", "b", "b"])  # b: reason twice, memory once, other once
    assert measured.label_accuracy(steps.with_columns(kind=plans)) == pytest.approx(6 / 8)
    turned = steps.with_columns(kind=pl.col("content").replace({"memory": "reason", "reason": "memory"}))
    assert measured.label_accuracy(turned.filter(pl.col("content") != "other")) == 0
    assert measured.label_accuracy(steps.head(0)) is None


# Two runs


def test_mcnemar_is_the_binomial_sum():
    for only_a, only_b in ((0, 0), (5, 5), (1, 9), (12, 3)):
        n, least = only_a + only_b, min(only_a, only_b)
        exact = min(1.0, 2 * sum(comb(n, i) for i in range(least + 1)) / 2**n)
        assert comparing.mcnemar(only_a, only_b) == pytest.approx(exact)


def test_the_paired_interval_is_that_of_a_multinomial():
    rng = np.random.default_rng(1)
    a, b = rng.random(300) < 0.8, rng.random(300) < 0.7
    counts = [int((a & ~b).sum()), int((b & ~a).sum()), int((a == b).sum())]
    drawn = np.random.default_rng(2).multinomial(300, np.array(counts) / 300, size=100_000)
    expected = np.quantile((drawn[:, 0] - drawn[:, 1]) / 300, [0.025, 0.975])
    assert comparing.difference(a, b, 0) == pytest.approx(expected, abs=0.008)
    assert comparing.difference(a, b, 0) == comparing.difference(a, b, 0)
    assert comparing.difference(a, a, 0) == (0.0, 0.0)


def test_pairs_by_hand():
    ours = _frame(_rows())
    theirs = ours.with_columns(correct=pl.Series([True, False, True, False]), answer=pl.col("gold"))
    (row,) = comparing.compare("ours", ours, "theirs", theirs).to_dicts()
    assert (row["n"], row["accuracy_a"], row["accuracy_b"], row["only_a"], row["only_b"]) == (4, 0.5, 0.5, 1, 1)
    assert (row["difference"], row["p"], row["split"]) == (0.0, 1.0, "test")
    two = [frame.with_columns(split=pl.Series(["test", "test", "dev", "dev"])) for frame in (ours, theirs)]
    rows = comparing.compare("ours", two[0], "theirs", two[1]).to_dicts()
    assert [(row["split"], row["n"], row["difference"]) for row in rows] == [
        ("test", 2, 0.5), ("dev", 2, -0.5), ("all", 4, 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize("changed", ["question", "gold", "split"])
def test_other_questions_are_not_compared(changed: str):
    ours = _frame(_rows())
    fine = pl.col("id") != ours["id"][2]
    other = ours.with_columns(pl.when(fine).then(changed).otherwise(pl.lit("x")).alias(changed))
    with pytest.raises(UsageError, match=f"ours and theirs .* ours alone was asked {ours['id'][2]} .* and 0 more"):
        comparing.compare("ours", ours, "theirs", other)
    with pytest.raises(UsageError, match=f"ours alone was asked {ours['id'][3]}"):
        comparing.compare("ours", ours, "theirs", ours.head(3))
    with pytest.raises(UsageError, match="theirs alone was asked"):
        comparing.compare("ours", ours.head(3), "theirs", ours)
