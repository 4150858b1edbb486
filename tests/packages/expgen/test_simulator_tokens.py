"""What the offline simulator predicts can be read off the description."""

import numpy as np
import pytest
from expgen.simulating import Asked
from expgen.simulating.tokens import Tokens
from expgen.store import Text

from tests.packages.expgen import made


def text(words: str, before: int = 0) -> Text:
    """Every word a token, after `before` tokens that stand for no characters."""
    spans = np.array([(0, 0)] * before + made.spans(words))
    return Text(words, np.zeros(len(spans), int), spans, np.ones(len(spans), bool))


def predicted(description: str, of: Text) -> list[float]:
    (found,) = Tokens().predict([Asked(description, of)])
    assert found.fault is None
    assert found.values is not None
    return found.values.tolist()


def test_a_description_in_the_fixed_form_is_followed():
    assert predicted('fires on "is" after "sum"', text("the sum is what is")) == [0, 0, 1, 0, 0]
    assert predicted('fires on "red", and weakly on "blue"', text("red blue grey")) == [1, 0.5, 0]


def test_white_space_that_no_token_has_is_told_of_the_next_one_as_it_is_to_explainers():
    of = Text("a  red", np.zeros(2, int), np.array([[0, 1], [3, 6]]), np.ones(2, bool))
    assert predicted('fires on "  red"', of) == [0, 1]


@pytest.mark.parametrize("description", ["mentions of Apples, red ones above all", 'the word "apples" or "red"'])
def test_words_that_are_named_are_taken_to_fire(description: str):
    assert predicted(description, text("Red apples are fruit")) == [1, 1, 0, 0]


def test_every_piece_of_a_word_that_is_named_fires():
    spans = np.array([[0, 3], [3, 6], [6, 9], [9, 12]])  # "one| ap|ple| two"
    of = Text("one apple two", np.zeros(4, int), spans, np.ones(4, bool))
    assert predicted("apple", of) == [0, 1, 1, 0]


def test_nothing_named_is_nothing_predicted_and_what_has_no_characters_has_no_prediction():
    assert predicted("", text("a red hat")) == [0, 0, 0]
    found = predicted("red", text("a red hat", before=1))
    np.testing.assert_array_equal(found, [np.nan, 0, 1, 0])
