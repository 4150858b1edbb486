"""Bits of knowledge against sums done by hand, exact binomials, and what must hold at the limits."""

from math import comb, log2

import pytest
from grokked_reasoning.capacities import bits
from grokked_reasoning.capacities.bits import Knowable, Scheme

# Of 8 people out of 64 names: a hero is one of the 8, birth dates are 4 of 16 days, cities are two.
WORLD = Knowable(8, 64, 16, {"hero": 8, "birth_date": 4, "birth_city": 2}, frozenset({"hero"}))
NOTHING_LOST = {"hero": 0.0, "birth_date": 0.0, "birth_city": 0.0}
GUESSED = {"hero": 3.0, "birth_date": 2.0, "birth_city": 1.0}
DATES = log2(1820)  # 16 over 4


def test_what_names_and_dates_cost():
    assert WORLD.name_selection("enumerate") == 48
    assert WORLD.name_selection("optimal") == 48 - 24
    assert WORLD.name_selection("independent") == 0
    assert WORLD.date_selection() == pytest.approx(DATES)


@pytest.mark.parametrize(("n", "k"), [(16, 4), (73_049, 500), (73_049, 25_000), (7, 7), (7, 0)])
def test_logarithms_of_binomials(n: int, k: int):
    exact = comb(n, k)
    expected = exact.bit_length() - 53 + log2(exact >> (exact.bit_length() - 53)) if exact > 1 << 60 else log2(exact)
    assert bits.log2_choose(n, k) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_the_set_of_names_costs_at_most_what_choosing_it_does():
    """N log2 N0 - N log2 N is the leading part of log2 of N0 over N: less by at most N log2 e."""
    exact = log2(comb(64, 8))
    assert 8 * log2(2.7183) > exact - WORLD.name_selection("optimal") > 0


def test_nothing_lost_is_all_there_is_to_know():
    hand = 8 * (3 + 2 + 1) + 24 + DATES
    assert bits.average(WORLD, NOTHING_LOST) == pytest.approx(hand)
    told = bits.per_attribute(WORLD, NOTHING_LOST)
    assert told["hero"] == 24 + 24
    assert told["birth_date"] == pytest.approx(16 + DATES)
    assert told["birth_city"] == 8
    assert told["all"] == pytest.approx(hand)


@pytest.mark.parametrize("scheme", ["average", "per-attribute", "2-hop-big-hash", "2-hop-double"])
def test_a_uniform_guess_knows_which_values_there_are_and_no_more(scheme: Scheme):
    assert bits.capacity(scheme, WORLD, GUESSED, times=17)["all"] == pytest.approx(24 + DATES)
    assert bits.capacity(scheme, WORLD, GUESSED, "enumerate", times=17)["all"] == pytest.approx(48 + DATES)
    assert bits.capacity(scheme, WORLD, GUESSED, "independent", times=17)["all"] == pytest.approx(DATES)


def test_losses_between():
    lost = {"hero": 1.0, "birth_date": 0.5, "birth_city": 0.25}
    assert bits.average(WORLD, lost) == pytest.approx(8 * (6 - 1.75) + 24 + DATES)
    told = bits.per_attribute(WORLD, lost)
    assert (told["hero"], told["birth_city"]) == (8 * 2 + 24, 8 * 0.75)
    assert told["birth_date"] == pytest.approx(8 * 1.5 + DATES)


def test_memorised_answers_count_every_time_and_what_is_lost_beyond_a_guess_once():
    lost = {"hero": 1.0, "birth_date": 0.5, "birth_city": 2.0}
    assert bits.average(WORLD, lost, times=17) == pytest.approx(17 * 8 * (6 - 3.5) + 24 + DATES)
    told = bits.capacity("2-hop-big-hash", WORLD, lost, times=17)
    assert told["hero"] == 17 * 8 * 2 + 24
    assert told["birth_city"] == -8
    assert told["all"] == pytest.approx(17 * 8 * (6 - 3.5) + 24 + DATES)
    much = {"hero": 4.0, "birth_date": 3.0, "birth_city": 2.0}
    assert bits.average(WORLD, much, times=17) == pytest.approx(-8 * 3 + 24 + DATES)


def test_relations_share_what_names_cost():
    world = Knowable(8, 64, 16, {"hero": 8, "mentor": 8}, frozenset({"hero", "mentor"}))
    told = bits.per_attribute(world, {"hero": 0.0, "mentor": 3.0})
    assert told == {"hero": 24 + 12, "mentor": 12, "all": 48}


def test_the_order_of_subjects_changes_nothing():
    """The reference's multiplier, once 2, stays so for every subject after it."""
    lost = {"hero": 1.0, "birth_date": 0.5, "birth_city": 0.25}
    backwards = dict(reversed(lost.items()))
    for scheme in ("per-attribute", "2-hop-double", "2-hop-big-hash"):
        one, other = (bits.capacity(scheme, WORLD, each, times=17) for each in (lost, backwards))
        assert one == pytest.approx(other)


@pytest.mark.parametrize("values", [2, 8, 500])
@pytest.mark.parametrize("p", [0.999, 0.9, 0.6, 0.51])
def test_the_loss_of_a_hop_explains_that_of_two(p: float, values: int):
    """Both hops right, or the wrong person, who has the same value by chance."""
    right = p * p + (1 - p) / values
    assert bits.loss_per_hop(-log2(right), values) == pytest.approx(-log2(p))


def test_the_loss_of_a_hop_at_its_limits():
    assert bits.loss_per_hop(0, 8) == 0
    assert bits.loss_per_hop(3, 8) == pytest.approx(3)  # a guess in both
    assert bits.loss_per_hop(30, 8) == 3  # worse than a guess: no p explains it
    assert bits.loss_per_hop(2, 500) == pytest.approx(1, abs=0.01)  # one half twice, next to no chance


def test_composed_relations_are_stored_twice_and_properties_once():
    told = bits.double(WORLD, NOTHING_LOST)
    assert told["hero"] == 2 * 8 * 3 + 24
    assert told["birth_city"] == 8
    assert told["birth_date"] == pytest.approx(16 + DATES)
    half = bits.double(WORLD, {"hero": -log2(0.25 + 0.5 / 8)})
    assert half["hero"] == pytest.approx(2 * 8 * (3 - 1) + 24)


def test_bits_on_top_of_others_count_no_selection_and_are_never_negative():
    assert bits.more(WORLD, NOTHING_LOST) == 48
    assert bits.more(WORLD, {**GUESSED, "hero": 2.0}) == 8
    assert bits.more(WORLD, {**GUESSED, "hero": 9.0}) == 0
