"""What counts as a right chain."""

import pytest
from specimens.text import document, equations, final_answer, right_answer, right_chain, right_recall, split_answer

ANSWER = "Tom has 3 + 2 = <<3+2=5>>5 shells.\nThen 5 * 4 = <<5*4=20>>20 remain.\n#### 20"
GOOD = "Tom has 3 + 2 = 5 shells.\nThen 5 * 4 = 20 remain.\nThe answer is 20."


def test_marks_are_stripped():
    assert split_answer(ANSWER) == ("Tom has 3 + 2 = 5 shells.\nThen 5 * 4 = 20 remain.", "20")
    assert document("Why?", ANSWER) == f"Question: Why?\nLet's think step by step\n{GOOD}"


@pytest.mark.parametrize(
    ("said", "chain", "answer"),
    [
        (GOOD, True, True),
        (GOOD.replace("5 * 4", "4 * 5"), True, True),
        (GOOD.replace("3 + 2", "3 + 3"), False, True),  # a false equation
        (GOOD.replace("20.", "21."), False, False),  # a right chain, another answer
        ("The answer is 20.", False, True),  # no chain
        (GOOD.replace("Then 5 * 4 = 20 remain.\n", ""), False, True),  # a step is missing
        (GOOD.replace("Then", "Also 1 + 1 = 2.\nThen"), False, True),  # a step too many
        (GOOD.replace("The answer is 20.", ""), False, False),
        ("", False, False),
    ],
)
def test_right_chain_and_right_answer(said: str, chain: bool, answer: bool):
    assert right_chain(said, ANSWER) is chain
    assert right_answer(said, ANSWER) is answer


@pytest.mark.parametrize(
    ("text", "true"),
    [("7 / 2 = 3", False), ("8 / 2 = 4", True), ("8 / 0 = 0", False), ("3 - 5 = -2", True), ("6 * 7 = 42", True)],
)
def test_equations_are_exact(text: str, true: bool):
    assert [e.true for e in equations(text)] == [true]


def test_only_the_first_final_answer_counts():
    assert final_answer("The answer is 5.\n\nQuestion: ...\nThe answer is 6.") == "5"
    assert final_answer("nothing") is None


def test_recall_wants_the_gold_facts():
    gold = "Ada lives in Ur.\nUr lies in Sumer.\n#### Sumer"
    assert right_recall("Ada lives in Ur.\nUr lies in Sumer.\nThe answer is Sumer.", gold)
    assert not right_recall("Ada lives in Uruk.\nUruk lies in Sumer.\nThe answer is Sumer.", gold)
