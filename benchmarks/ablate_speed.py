"""What ablations cost over the generation they need: the same rows and tokens with and without interventions.

    uv run python benchmarks/ablate_speed.py

The whole model and 20 random draws of 20 neurons on 200 problems, 4,200 rows in batches of 64 that conditions share.
Every row writes 48 tokens, whatever it says, so that both sides do the same number of steps. Process time, one thread;
the two sides take turns, batch by batch.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import actkit
import torch
from cot_neurons.ablation import controls
from cot_neurons.ablation.interventions import Condition, Interventions, Rows
from cot_neurons.ablation.reference import Reference
from specimens import arithmetic, tiny_reasoner
from specimens.text import query

PROBLEMS, DRAWS, NEURONS, BATCH, NEW_TOKENS, SEED = 200, 20, 20, 64, 48, 0
MODES = ("mean", "noise")
RESULTS = Path(__file__).parent / "results" / "ablate_speed.json"


def main() -> None:
    """Measure, print, and write results/ablate_speed.json."""
    torch.set_num_threads(1)
    model = actkit.load(tiny_reasoner(), device="cpu")
    asked = model.tokenize([query(each.question) for each in arithmetic.problems("in-distribution", PROBLEMS)])
    conditions = _conditions(model)
    pairs = [(condition, item) for item in range(PROBLEMS) for condition in conditions]
    batches = actkit.buckets([len(asked[item]) for _, item in pairs], BATCH)
    report = {"threads": 1, "torch": torch.__version__, "rows": len(pairs), "conditions": len(conditions)}
    report["ratios"] = {mode: _measured(model, mode, conditions, pairs, asked, batches) for mode in MODES}
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def _conditions(model: actkit.Model) -> list[Condition]:
    each = NEURONS // model.dims.layers
    target = [(layer, unit) for layer in range(model.dims.layers) for unit in range(each)]
    strength = {layer: torch.ones(model.dims.d_mlp) for layer in range(model.dims.layers)}
    made = controls.conditions({"some": target}, strength, amounts=(1.0,), controls=("random",), draws=DRAWS, seed=SEED)
    return [condition for condition in made if condition.kind != "target"]


def _measured(
    model: actkit.Model,
    mode: str,
    conditions: Sequence[Condition],
    pairs: Sequence[tuple[Condition, int]],
    asked: Sequence[list[int]],
    batches: Sequence[Sequence[int]],
) -> dict[str, float]:
    flat = {layer: torch.ones(model.dims.d_mlp) for layer in range(model.dims.layers)}
    place = {condition.number: i for i, condition in enumerate(conditions)}
    renumbered = [Condition(i, c.concept, c.kind, c.draw, c.amount, c.neurons) for i, c in enumerate(conditions)]
    interventions = Interventions(model, renumbered, Reference(flat, flat, flat), mode=mode, where="all", seed=SEED)
    taken: dict[str, list[float]] = {"ours": [], "plain": []}
    for number, group in enumerate(batches):
        ids = [asked[pairs[i][1]] for i in group]
        batch = model.encode(ids)
        rows = Rows(
            torch.tensor([place[pairs[i][0].number] for i in group]),
            torch.tensor([pairs[i][1] for i in group]),
            torch.tensor([len(each) for each in ids]),
        )
        works: dict[str, Callable[[], object]] = {
            "ours": lambda batch=batch, rows=rows: model.generate(
                batch, edits=interventions.edits(rows), max_new_tokens=NEW_TOKENS, eos=False
            ),
            "plain": lambda batch=batch: model.generate(batch, max_new_tokens=NEW_TOKENS, eos=False),
        }
        for name in list(works) if number % 2 else reversed(works):
            start = time.process_time()
            works[name]()
            taken[name].append(time.process_time() - start)
    ratios = [a / b for a, b in zip(taken["ours"], taken["plain"], strict=True)]
    low, middle, high = (round(each, 3) for each in statistics.quantiles(ratios, n=4))
    whole = round(sum(taken["ours"]) / sum(taken["plain"]), 3)
    return {"whole": whole, "median batch": middle, "q25": low, "q75": high}


if __name__ == "__main__":
    main()
