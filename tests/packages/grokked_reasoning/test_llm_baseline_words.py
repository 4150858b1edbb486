"""Reading replies, finding facts within two hops, naming people, counting: against tables and sums made by hand."""

import re

import numpy as np
import pytest
from grokked_reasoning.baselines.knowledge import Asked, Facts
from grokked_reasoning.baselines.names import MOST, names
from grokked_reasoning.baselines.parsing import verdict
from grokked_reasoning.baselines.published import ASKED, PUBLISHED
from grokked_reasoning.baselines.results import wilson
from grokked_reasoning.baselines.retrieval import around
from runkit.errors import UsageError
from scipy.stats import binomtest

DIRECT = {
    "Younger": "younger",
    "Ada Balberg is younger than Otto Gilman.": "younger",
    "OLDER.": "older",
    "They are in the **same age**": "same age",
    "same\n age": "same age",
    "Cannot decide": "cannot decide",
    "I cannot decide whether Ada is younger or older.": "cannot decide",
    "It can't be decided.": "cannot decide",
    "It can’t be decided": "cannot decide",
    "can not decide": "cannot decide",
    "older, or in the same age": "invalid",
    "younger? no, older": "invalid",
    "": "invalid",
    "yes": "invalid",
    "the beholders": "invalid",
    "a younger-than relation": "younger",
}
THOUGHT = {
    "Ada is older than Otto, who is younger than Ida. Final answer: in the same age": "same age",
    "final answer: older\nWait.\nFINAL ANSWER: younger": "younger",
    "**Final answer**: older": "older",
    "Final answer: cannot decide": "cannot decide",
    "I cannot decide. Final answer: older": "older",
    "Ada is older.": "invalid",
    "Final answer:": "invalid",
    "Final answer: older or younger": "invalid",
}


@pytest.mark.parametrize(("text", "expected"), DIRECT.items())
def test_direct_replies(text: str, expected: str):
    assert verdict(text, thought=False) == expected
    assert verdict(f"older, younger, whatever. Final answer: {text}", thought=True) == expected, "read by one parser"


@pytest.mark.parametrize(("text", "expected"), THOUGHT.items())
def test_thought_replies(text: str, expected: str):
    assert verdict(text, thought=True) == expected


def test_two_hops_by_hand():
    """Asked: 0 and 1. Neighbours: 2, 3 (of 0), 4 (of 1). 5 is two comparisons away, 6 and 7 are not reached."""
    atomic = np.array([(2, 9), (3, 8), (4, 7), (5, 6), (6, 5), (7, 4)])
    comparisons = np.array([(0, 2, 1), (3, 0, 2), (1, 4, 0), (2, 5, 0), (5, 6, 1), (6, 7, 1), (4, 2, 2)])
    found = around(Facts(atomic, comparisons), Asked(0, 0, 0, 1, 1))
    assert found.atomic.tolist() == [[2, 9], [3, 8], [4, 7]]
    assert found.comparisons.tolist() == [[0, 2, 1], [3, 0, 2], [1, 4, 0], [2, 5, 0], [4, 2, 2]]


def test_names_are_distinct_seeded_and_hold_no_word_that_decides():
    every = names(MOST, 0, 0)
    assert len(set(every)) == MOST
    assert not [name for name in every if re.search("young|old|same|age|decid|final", name.lower())]
    assert names(50, 1, 2) == names(50, 1, 2)
    assert len({tuple(names(50, seed, group)) for seed in (0, 1) for group in (0, 1)}) == 4
    with pytest.raises(UsageError, match="entities"):
        names(MOST + 1, 0, 0)


@pytest.mark.parametrize(("hits", "n"), [(0, 150), (43, 150), (150, 150), (1, 3), (56, 150)])
def test_intervals_are_wilsons(hits: int, n: int):
    low, high = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((low, high), abs=1e-6)


def test_published_counts_are_the_printed_percentages():
    printed = {("Gemini-1.5-Pro", "full"): (28.7, 11.3), ("Gemini-1.5-Pro", "retrieval"): (37.3, 12.0),
               ("GPT-4-Turbo", "retrieval"): (33.3, 31.3)}  # fmt: skip
    rows = {(each.system, each.context, each.answer): each for each in PUBLISHED}
    for (system, context), percents in printed.items():
        for answer, percent in zip(("direct", "cot"), percents, strict=True):
            assert round(100 * rows[system, context, answer].correct / ASKED, 1) == percent
    undecided = [rows[key].cannot_decide for key in rows if key[2] == "cot"]
    assert [round(100 * each / ASKED, 1) for each in undecided] == [70.7, 58.7, 12.7]
    assert round(100 * rows["GPT-4-Turbo", "retrieval", "cot"].invalid / ASKED, 1) == 4.0
    assert round(100 * rows["grokked transformer", None, "direct"].correct / ASKED, 1) == 99.3
