"""The tokenizer that ships: any text survives it, and digits, signs and `=` are tokens of their own."""

import pytest
import specimens
from hypothesis import given, settings
from hypothesis import strategies as st
from specimens import arithmetic
from specimens.text import document
from transformers import AutoTokenizer

TOKENIZER = AutoTokenizer.from_pretrained(specimens.tiny_reasoner())


def pieces(text: str) -> list[str]:
    return [TOKENIZER.decode([i]) for i in TOKENIZER.encode(text, add_special_tokens=False)]


@settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(text: str):
    ids = TOKENIZER.encode(text)
    assert ids[0] == TOKENIZER.bos_token_id
    assert TOKENIZER.decode(ids[1:]) == text


@pytest.mark.parametrize("text", ["", " ", "\r\n\t", "é漢字🙂", "a  b ", "<bos>", "12+3=15", "\u2028\x00"])
def test_odd_texts_survive(text: str):
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text


def test_equations_are_one_token_per_digit_and_sign():
    assert pieces("So 12 + 30 = 42 now.")[1:-2] == [" 1", "2", " +", " 3", "0", " =", " 4", "2"]
    assert pieces("98*7-6/3=100") == list("98*7-6/3=100")


def test_documents_are_short_and_only_made_of_known_words():
    for p in arithmetic.problems("in-distribution", 100):
        text = document(p.question, p.answer)
        said = pieces(text)
        assert "".join(said) == text
        assert len(said) < 2 * len(text.split()) + 40


def test_special_tokens_and_padding_side():
    assert (TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id) == (0, 1, 2)
    assert TOKENIZER.padding_side == "left"
    assert len(TOKENIZER) < 2048
