"""Descriptions in the fixed form: written, read back, and held against texts worked out by hand."""

from itertools import product

import pytest
from expgen.explaining.phrases import KINDS, PLACES, Phrase, parse, words_in

ODD = ('"', "\\", "\n", " a b ", "{{", "、", "and", ", ", '" and "', "é", "\\u00e9", "\t")


def test_every_phrase_is_read_back_as_it_was_written():
    lists = ((), ("red",), ("red", "blue"), ODD)
    placed = [("", ()), *((place, tokens) for place in PLACES for tokens in lists[1:])]
    phrases = [
        Phrase(on, kind, place, of, weakly, promotes)
        for (on, kind), (place, of), weakly, promotes in product(
            [*((on, "") for on in lists), *(((), kind) for kind in KINDS)], placed, lists, lists
        )
    ]
    assert len({str(phrase) for phrase in phrases}) == len(phrases)  # none says the same as another
    for phrase in phrases:
        assert parse(str(phrase)) == phrase


@pytest.mark.parametrize(
    ("said", "text", "expected"),
    [
        ('fires on "red" and "blue"', "the| red| or|blue| Red", [0, 1, 0, 1, 0]),
        ('fires on " red"', "red| red|  red", [0, 1, 0]),
        ('fires on "is" after "sum"', "is| sum| is| is| sum", [0, 0, 1, 0, 0]),
        ('fires on the token after "$"', "$|5| 5|$", [0, 1, 0, 0]),
        ('fires on numbers two places after "a" and "b"', " a| 1| 2| b| c|,| 4", [0, 0, 1, 0, 0, 0, 0]),
        ('fires on the token two places after "a"', "a", [0]),
        ('fires on "x" somewhere after "not"', "x| x| not| y| x| x", [0, 0, 0, 0, 1, 1]),
        ('fires on "red", and weakly on "pink" and "rose"', "red| pink| rose| tree", [1, 0.5, 0.5, 0]),
        ('fires on the token after "a", and weakly on "b"', "b|a| b|a| c", [0, 0, 0.5, 0, 1]),
        ('fires on "\\n"', "a|\n|b| \n", [0, 1, 0, 0]),
        ('fires on "red"; promotes "blue"', "blue| red", [0, 1]),
        ("fires on every token", "a|b", [1, 1]),
        ('fires on every token somewhere after "a"', "a|b|a", [0, 1, 1]),
        ("fires on numbers", "12| 3.5|x3| three| $4|.", [1, 1, 0, 0, 1, 0]),
        ("fires on punctuation", "a|.| ,|...| |x.|$", [0, 1, 1, 1, 0, 0, 1]),
        ("fires on signs of arithmetic", "1| +| 2| =|.| a", [0, 1, 0, 1, 0, 0]),
        ("fires on capitalised words", "The| NASA| man| I| Élan|1", [1, 0, 0, 1, 1, 0]),
        ("fires on words in capitals", "The| NASA| I|U.S", [0, 1, 0, 1]),
        ("fires on line breaks", "a|\n| \n\n|b", [0, 1, 1, 0]),
        ("fires on the first token of the text", "||The| cat|.| It", [0, 0, 1, 0, 0, 0]),
        ("fires on the first token of a sentence", "The| cat|.| It| is|!\n|So|?|”| a", [1, 0, 0, 1, 0, 0, 1, 0, 0, 1]),
        ('"red"', " red| blue", [1, 0]),
        ("Fires on NUMBERS.", "1|a", [1, 0]),
    ],
)  # fmt: skip
def test_a_phrase_weighs_each_token(said: str, text: str, expected: list[float]):
    phrase = parse(said)
    assert phrase is not None
    assert phrase.weights(text.split("|")) == expected


@pytest.mark.parametrize(
    "free",
    ["", "words about boats", "fires on red", 'fires on "red" when cold', 'fires on "red', 'fires on ""',
     'fires on "red" after', 'fires on "red", "blue"and "green"', 'fires on numbers; numbers'],
)  # fmt: skip
def test_free_words_are_no_phrase(free: str):
    assert parse(free) is None


def test_free_words_are_told_apart_from_filler():
    said = 'This neuron fires on tokens that mention boats, "the" and “Ice Cream”, or the sailors’ union in 1999.'
    assert words_in(said) == {"boats", "the", "ice cream", "ice", "cream", "sailors", "union", "1999"}
    assert words_in('"say \\"red\\""') == {'say "red"', "red"} | {"say"}
    assert words_in('the "" of it') == set()
