"""Which neurons serve as controls: as many per layer, none of the concept's own, of like strength, seeded."""

from collections import Counter
from typing import Any

import pytest
import torch
from cot_neurons.ablation import controls
from cot_neurons.ablation.interventions import Condition

from tests.packages.cot_neurons import made

ADD = [(0, 3), (0, 8), (2, 50), (2, 1)]
WANTED = {"add": ADD, "equals_to": [(0, 5), (1, 7), (1, 9), (2, 60)], "so": [(2, 20)]}
STRENGTH = {layer: torch.arange(1, 101) ** 3 / 1000.0 for layer in range(3)}


def _drawn(wanted: Any = WANTED, **given: Any) -> list[Condition]:
    options = {"amounts": (1.0,), "controls": ("random", "matched", "other"), "draws": 20, "seed": 0, **given}
    return controls.conditions(
        wanted, given.get("strength", STRENGTH), **{k: v for k, v in options.items() if k != "strength"}
    )


def _of(conditions: list[Condition], concept: str, kind: str) -> list[Condition]:
    return [each for each in conditions if (each.concept, each.kind) == (concept, kind)]


def _layers(condition: Condition) -> Counter[int]:
    return Counter(layer for layer, _ in condition.neurons)


def test_the_whole_model_comes_first_and_numbers_count_on():
    drawn = _drawn(amounts=(0.0, 2.0))
    assert drawn[0] == Condition(0, None, "baseline", 0, 0.0, ())
    assert [each.number for each in drawn] == list(range(len(drawn)))
    for concept, neurons in WANTED.items():
        targets = _of(drawn, concept, "target")
        assert [each.amount for each in targets] == [0.0, 2.0]
        assert all(each.neurons == tuple(sorted(neurons)) for each in targets)


@pytest.mark.parametrize("kind", ["random", "matched"])
def test_as_many_per_layer_and_none_of_its_own(kind: str):
    for concept, neurons in WANTED.items():
        drawn = _of(_drawn(), concept, kind)
        assert len(drawn) == (10 if (kind, concept) == ("matched", "so") else 20)  # ten are a tenth of the layer
        for each in drawn:
            assert _layers(each) == Counter(layer for layer, _ in neurons)
            assert len(set(each.neurons)) == len(neurons)
            assert not set(each.neurons) & set(neurons)
            assert all(0 <= unit < 100 for _, unit in each.neurons)


def test_matched_ones_are_as_strong():
    """Within a tenth of the layer's neurons of the target, on a logarithmic scale; random ones are anywhere."""
    drawn, far = _drawn(), {}
    strongest = [(2, 95), (1, 90)]
    for kind in ("random", "matched"):
        sets = _of(_drawn({"add": strongest}), "add", kind)
        sizes = [float(STRENGTH[layer][unit].log()) for each in sets for layer, unit in each.neurons]
        wanted = sum(float(STRENGTH[layer][unit].log()) for layer, unit in strongest) / 2
        far[kind] = sum(abs(size - wanted) for size in sizes) / len(sizes)
    assert far["matched"] < 0.3 < far["random"]
    for each in _of(drawn, "add", "matched"):  # near (2, 50): the ten nearest of the layer that are free
        assert sum(44 <= unit <= 56 for layer, unit in each.neurons if layer == 2) == 1


def test_silent_neurons_are_matched_with_silent_ones():
    strength = {0: torch.tensor([0.0] * 5 + [3.0] * 15)}
    for each in _of(_drawn({"add": [(0, 2)]}, strength=strength), "add", "matched"):
        assert each.neurons[0][1] in (0, 1, 3, 4)


def test_other_concepts_neurons_and_no_others():
    rest = {neuron for concept in ("equals_to", "so") for neuron in WANTED[concept]}
    sets = _of(_drawn(), "add", "other")
    for each in sets:
        assert set(each.neurons) <= rest
        assert len(each.neurons) == len(ADD)
        assert _layers(each) == {0: 1, 2: 2, 1: 1}  # layer 0 has one of the two wanted, so one comes from elsewhere
    assert len(sets) == 2  # (0, 5), (2, 20), (2, 60), and one of (1, 7) and (1, 9): there are no more
    shared = {"add": [(0, 1), (0, 2)], "plus": [(0, 2), (0, 3)]}
    for each in _of(_drawn(shared), "add", "other"):
        assert each.neurons == ((0, 3),)  # what is also the target's own is no control


def test_without_another_concept_there_are_no_others():
    assert not _of(_drawn({"add": ADD}), "add", "other")


def test_equal_sets_are_run_once():
    few = {0: torch.ones(4)}
    drawn = _drawn({"add": [(0, 0)]}, strength=few, draws=50)
    sets = _of(drawn, "add", "random")
    assert sorted(each.neurons for each in sets) == [((0, 1),), ((0, 2),), ((0, 3),)]
    assert [each.draw for each in sets] == [0, 1, 2]
    matched = _of(_drawn({"add": [(0, 0), (0, 19)]}, strength={0: torch.ones(20)}, draws=50), "add", "matched")
    assert len({each.neurons for each in matched}) == len(matched) > 1
    assert len(_of(_drawn(controls=("random", "random")), "add", "random")) == 20


def test_doses_share_their_control_sets():
    drawn = _of(_drawn(amounts=(0.5, 2.0)), "add", "random")
    sets = [[each.neurons for each in drawn if each.amount == amount] for amount in (0.5, 2.0)]
    assert sets[0] == sets[1]


def test_the_seed_decides_and_nothing_else():
    assert _drawn(seed=3) == _drawn(seed=3)
    for kind in ("random", "matched"):
        one, other = ([each.neurons for each in _of(_drawn(seed=seed), "add", kind)] for seed in (3, 4))
        assert one != other
    # A concept's draws do not depend on which other concepts are there.
    alone, among = (_of(_drawn(wanted), "add", "random") for wanted in ({"add": ADD}, WANTED))
    assert [each.neurons for each in alone] == [each.neurons for each in among]


def test_random_draws_reach_every_free_neuron():
    """The original drew from the first 1,024 of 11,008 only."""
    drawn = _of(_drawn({"add": [(0, 3)]}, draws=2000), "add", "random")
    assert {unit for each in drawn for _, unit in each.neurons} == set(range(100)) - {3}


@pytest.mark.parametrize("kind", ["random", "matched"])
def test_where_a_layer_has_fewer_free_neurons_it_gives_what_it_has(kind: str):
    strength = {0: torch.ones(5), 1: torch.ones(30)}
    crowded = {"add": [(0, 0), (0, 1), (0, 2), (1, 4)], "whole": [(0, i) for i in range(5)]}
    for each in _of(_drawn(crowded, strength=strength), "add", kind):
        assert _layers(each) == {0: 2, 1: 1}
    assert not _of(_drawn(crowded, strength=strength), "whole", kind)


def test_targets_are_the_best_scored_first_and_both_poles_one_neuron():
    labels = made.labels(
        "m", [(1, 5, "+", "add"), (1, 5, "-", "add"), (0, 2, "+", "add"), (0, 1, "+", "add"), (3, 3, "-", "so")]
    )
    labels = labels.with_columns(score=torch.tensor([0.2, 0.9, 0.5, 0.5, 1.0]).double().numpy())
    assert controls.targets(labels, (), None) == {"add": [(1, 5), (0, 1), (0, 2)], "so": [(3, 3)]}
    assert controls.targets(labels, ("add",), 2) == {"add": [(1, 5), (0, 1)]}
