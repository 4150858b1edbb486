"""Which neurons are intervened on: a concept's, and controls that show whether just these matter."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from random import Random

import polars as pl
from jaxtyping import Float
from runkit.errors import UsageError, nearest
from torch import Tensor

from cot_neurons.ablation.interventions import Condition, Neuron

_ALIKE = 10  # a matched neuron comes from the tenth of its layer that is most like the target in strength

_TRIES = 10  # for each set that is wanted: where there are few sets to draw, most come up again


LEAST = pl.min_horizontal("auroc", "specific_auroc")
"""How well a label held up: against all other steps, and against those of the concept it tells apart worst."""


def held(labels: pl.DataFrame, min_auroc: float) -> pl.DataFrame:
    """The labels that held up so well on held-out chains; with 0 all of them, tested or not."""
    return labels.filter(min_auroc <= LEAST) if min_auroc else labels


def targets(labels: pl.DataFrame, concepts: Sequence[str], top: int | None) -> dict[str, list[Neuron]]:
    """For each concept its neurons, the best-scored first; both poles of a neuron are one target.

    Raises UsageError where a concept has none.
    """
    known = labels["concept"].unique(maintain_order=True).to_list()
    for concept in concepts:
        if concept not in known:
            raise UsageError(
                f"--concepts {concept}: no label to go by (--min-auroc 0 takes them all); {nearest(concept, known)}"
            )
    found: dict[str, list[Neuron]] = {}
    for concept in concepts or known:
        rows = labels.filter(concept=concept).sort("score", "layer", "neuron", descending=[True, False, False])
        found[concept] = list(dict.fromkeys(rows.select("layer", "neuron").iter_rows()))[:top]
    return found


def conditions(
    wanted: Mapping[str, Sequence[Neuron]],
    strength: Mapping[int, Float[Tensor, " N"]],
    *,
    amounts: Sequence[float],
    controls: Sequence[str],
    draws: int,
    seed: int,
) -> list[Condition]:
    """The whole model first; then for each concept and amount its neurons, and `draws` sets for each kind of control.

    Control sets of one concept are the same for every amount. Equal sets are run once.
    """
    found: list[Condition] = [Condition(0, None, "baseline", 0, 0.0, ())]
    for concept, neurons in wanted.items():
        sets: list[tuple[str, int, tuple[Neuron, ...]]] = [("target", 0, tuple(sorted(neurons)))]
        for kind in dict.fromkeys(controls):
            sets += _drawn(kind, concept, wanted, strength, draws, Random(f"{seed} {concept} {kind}"))
        for amount in amounts:
            found += [
                Condition(len(found) + i, concept, kind, draw, amount, each)
                for i, (kind, draw, each) in enumerate(sets)
            ]
    return found


def _drawn(
    kind: str,
    concept: str,
    wanted: Mapping[str, Sequence[Neuron]],
    strength: Mapping[int, Float[Tensor, " N"]],
    draws: int,
    random: Random,
) -> list[tuple[str, int, tuple[Neuron, ...]]]:
    own = wanted[concept]
    pool = sorted({neuron for other in wanted.values() for neuron in other} - set(own))
    choose = {
        "random": lambda: _random(own, strength, random),
        "matched": lambda: _matched(own, strength, random),
        "other": lambda: _others(own, pool, random),
    }[kind]
    found: dict[tuple[Neuron, ...], None] = {}
    for _ in range(_TRIES * draws):
        if len(found) < draws and (neurons := choose()):
            found.setdefault(tuple(sorted(neurons)))
    return [(kind, draw, each) for draw, each in enumerate(found)]


def _random(own: Sequence[Neuron], strength: Mapping[int, Float[Tensor, " N"]], random: Random) -> list[Neuron]:
    """As many neurons of every layer as the concept has there, none of its own."""
    chosen: list[Neuron] = []
    for layer, count in sorted(Counter(layer for layer, _ in own).items()):
        rest = sorted(set(range(len(strength[layer]))) - {unit for at, unit in own if at == layer})
        chosen += [(layer, unit) for unit in random.sample(rest, min(count, len(rest)))]
    return chosen


def _matched(own: Sequence[Neuron], strength: Mapping[int, Float[Tensor, " N"]], random: Random) -> list[Neuron]:
    """For every neuron another of its layer that is about as strong."""
    chosen: set[Neuron] = set()
    taken = set(own)
    for layer, unit in own:
        size = strength[layer]
        order = (size.log() - size[unit].log()).abs().nan_to_num(0).argsort(stable=True).tolist()
        free = ((layer, i) for i in order if (layer, i) not in taken)
        if alike := list(islice(free, max(1, len(size) // _ALIKE))):
            chosen.add(random.choice(alike))
            taken |= chosen
    return sorted(chosen)


def _others(own: Sequence[Neuron], pool: Sequence[Neuron], random: Random) -> list[Neuron]:
    """As many neurons of other concepts, of the same layers as far as there are enough."""
    chosen: list[Neuron] = []
    for layer, count in sorted(Counter(layer for layer, _ in own).items()):
        here = [neuron for neuron in pool if neuron[0] == layer]
        chosen += random.sample(here, min(count, len(here)))
    rest = [neuron for neuron in pool if neuron not in chosen]
    return chosen + random.sample(rest, min(len(own) - len(chosen), len(rest)))
