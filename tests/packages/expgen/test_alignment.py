"""Tokens of two tokenizers that stand for the same characters answer for each other."""

import random
from itertools import pairwise

import numpy as np
import pytest
from expgen.simulating.alignment import align
from specimens.families import tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = "Ann 吃 24 苹果 🦊🦊, naïve  café\n\tdone 👩‍👩‍👧."


def spans(tokenizer, text: str) -> np.ndarray:
    return np.array(tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"])


def by_hand(subject, simulator) -> list[int]:
    """The last overlapping token, without runs of equal spans."""
    found = [[j for j, (c, d) in enumerate(simulator) if c < b and d > a] for a, b in subject]
    return [each[-1] if each else -1 for each in found]


def cut(text: str, dice: random.Random) -> np.ndarray:
    """The text in pieces of one to four characters."""
    ends = [0]
    while ends[-1] < len(text):
        ends.append(min(len(text), ends[-1] + dice.randint(1, 4)))
    return np.array(list(pairwise(ends)))


def test_a_tokenization_aligned_with_itself_maps_every_token_to_itself():
    own = spans(tiny_tokenizer(), TEXT)
    assert len(np.unique(own, axis=0)) < len(own)  # characters that are split over tokens are there
    found = align(own, own)
    np.testing.assert_array_equal(found.to, np.arange(len(own)))
    assert (found.coverage, found.shared) == (1, 0)
    values = np.random.default_rng(0).random(len(own))
    np.testing.assert_array_equal(found.spread(values), values)


@pytest.mark.parametrize("seed", range(20))
def test_the_last_overlapping_token_answers(seed: int):
    dice = random.Random(seed)
    subject, simulator = cut(TEXT, dice), cut(TEXT, dice)
    found = align(subject, simulator)
    assert found.to.tolist() == by_hand(subject, simulator)
    counts = [found.to.tolist().count(each) for each in found.to]
    assert found.shared == pytest.approx(np.mean([count > 1 for count in counts]))
    assert found.coverage == 1


def test_tokens_without_characters_have_no_answer():
    found = align(np.array([[0, 0], [0, 3], [3, 3], [3, 5]]), np.array([[0, 5]]))
    assert found.to.tolist() == [-1, 0, -1, 0]
    assert found.spoken.tolist() == [False, True, False, True]
    assert (found.coverage, found.shared) == (1, 1)
    spread = found.spread(np.array([7.0]))
    np.testing.assert_array_equal(spread, [np.nan, 7, np.nan, 7])
    assert np.isnan(align(np.zeros((0, 2), int), np.array([[0, 5]])).coverage)


def test_text_that_no_token_claims_goes_to_the_next_one_or_to_none():
    trimmed = np.array([[0, 3], [4, 7]])  # the space at 3 is trimmed off, the line's end at 7 too
    found = align(np.array([[0, 3], [3, 4], [4, 7], [7, 8]]), trimmed)
    assert found.to.tolist() == [0, 1, 1, -1]
    assert found.coverage == 0.75
    assert align(np.array([[0, 2]]), np.zeros((0, 2), int)).to.tolist() == [-1]


def test_pieces_of_a_character_are_matched_in_order():
    whole, three, two = np.array([[0, 1]]), np.array([[0, 1]] * 3), np.array([[0, 1]] * 2)
    assert align(three, whole).to.tolist() == [0, 0, 0]
    assert align(three, whole).shared == 1
    assert align(whole, three).to.tolist() == [2]
    assert align(three, two).to.tolist() == [0, 1, 1]
    assert align(two, three).to.tolist() == [1, 2]


def test_another_tokenizer_sees_the_whole_of_each_token_and_no_more_than_it_must():
    """Character by character on the one side, byte pairs on the other: every character has one answer, its own."""
    single = Tokenizer(models.BPE())
    single.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    single.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    single.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    pieces, pairs = np.array(single.encode(TEXT).offsets), spans(tiny_tokenizer(), TEXT)
    found = align(pairs, pieces)
    assert all(pieces[j, 1] == pairs[i, 1] for i, j in enumerate(found.to))
    assert found.coverage == 1
    back = align(pieces, pairs)
    assert all(pairs[j, 0] <= pieces[i, 0] and pairs[j, 1] >= pieces[i, 1] for i, j in enumerate(back.to))
    for run in np.unique(pieces, axis=0):  # pieces of one character are in order, the last one answered by the last
        at = np.flatnonzero((pieces == run).all(axis=1))
        assert sorted(back.to[at]) == back.to[at].tolist()
