"""From a model's words to an answer: found where it is, and never made up where it is not."""

import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmkit.answer import Unusable, holds, read
from llmkit.backend import Completion
from pydantic import BaseModel, Field


class Verdict(BaseModel):
    concept: Literal["add", "multiply", "none"]
    confidence: float = Field(ge=0, le=1)
    why: str = ""


class Lenient(BaseModel):
    """Every field has a default, so that any object at all would do."""

    yes: bool = False
    score: int = 0


GOOD = '{"concept": "add", "confidence": 0.5, "why": "says {so}"}'
OTHER = '{"concept": "none", "confidence": 0.1}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```\nI hope that helps.",
        f"Sure! Here it is: {GOOD} Anything else?",
        f"The set {{add, multiply}} has two members. {GOOD}",
        f"<think>perhaps {OTHER}? No.</think>{GOOD}",
        f"{GOOD}\nAs I said: {GOOD}",
        GOOD.replace(" ", "\n"),
        "{" + GOOD,
    ],
)
def test_an_answer_is_found_wherever_it_stands(text: str):
    found = read(Completion(text.replace("says\n{so}", "says {so}")), Verdict)
    assert found == Verdict(concept="add", confidence=0.5, why="says {so}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no JSON object"),
        ("add", "no JSON object"),
        ("null", "no JSON object"),
        ("[1, 2]", "no JSON object"),
        (GOOD[:-1], "no JSON object"),
        ("{'concept': 'add', 'confidence': 1}", "no JSON object"),
        ('{"concept": "add", "confidence": NaN}', "no JSON object"),
        ('{"concept": "add", "concept": "none", "confidence": 1}', "no JSON object"),
        ('{"concept": "add"}', "confidence: Field required"),
        ('{"concept": "ADD", "confidence": 1}', "concept: Input should be 'add', 'multiply' or 'none'"),
        ('{"concept": "add", "confidence": 2}', "confidence: Input should be less than or equal to 1"),
        ('{"concept": null, "confidence": 1}', "concept: "),
        ('{"answer": ' + GOOD + "}", "concept: Field required"),
        (f"{GOOD} or {OTHER}", "several different"),
        (f"<think>{GOOD}", "no JSON object"),
        ("{" * 100_000, "no JSON object"),
    ],
)
def test_what_is_no_answer_is_told(text: str, told: str):
    with pytest.raises(Unusable, match=told):
        read(Completion(text), Verdict)


@pytest.mark.parametrize("text", ["{}", "an empty {} set", '{"no": 1}', '{"error": "overloaded"}'])
def test_defaults_do_not_pass_for_an_answer(text: str):
    with pytest.raises(Unusable, match="none of the fields"):
        read(Completion(text), Lenient)


def test_fields_with_defaults_may_be_left_out():
    assert read(Completion('{"yes": true}'), Lenient) == Lenient(yes=True)


@pytest.mark.parametrize(
    "completion",
    [
        Completion(GOOD, finish="length"),
        Completion(GOOD, finish="content_filter"),
        Completion(GOOD, refusal="I would rather not"),
    ],
)
def test_what_was_cut_off_or_declined_is_no_answer_even_if_it_reads_like_one(completion: Completion):
    with pytest.raises(Unusable, match=r"cut off|declined"):
        read(completion, Verdict)


prose = st.text(st.characters(exclude_characters="{}<>", exclude_categories=["Cs"]))
verdicts = st.builds(
    Verdict,
    concept=st.sampled_from(["add", "multiply", "none"]),
    confidence=st.floats(0, 1),
    why=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>")),
)


@given(value=verdicts, before=prose, after=prose, indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_any_answer_in_any_prose(value: Verdict, before: str, after: str, indent: int | None, ascii_only: bool):
    text = json.dumps(value.model_dump(), indent=indent, ensure_ascii=ascii_only)
    assert read(Completion(before + text + after), Verdict) == value


@given(value=verdicts, before=prose, cut=st.integers(1, 300))
def test_half_an_answer_is_none(value: Verdict, before: str, cut: int):
    text = value.model_dump_json()
    whole = len(text) - min(cut, len(text))
    with pytest.raises(Unusable):
        read(Completion(before + text[:whole]), Verdict)
    assert not holds(before + text[:whole], Verdict)
    assert holds(before + text, Verdict)


def test_a_thought_that_is_not_over_holds_nothing():
    assert not holds(f"<think>{GOOD}", Verdict)
    assert holds(f"<think>{OTHER}</think>{GOOD}", Verdict)
