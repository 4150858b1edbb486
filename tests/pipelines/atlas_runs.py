"""Finished runs of every source of an atlas, written by hand for a model of 2 layers of 40 neurons."""

from pathlib import Path
from typing import Any

import polars as pl
import runkit
from cot_neurons import tables as cot
from cot_neurons.ablation import tables as ablations
from expgen import tables as described
from grokked_reasoning import tables as grokked
from memreason import tables as recalled
from runkit.options import Options
from runkit.tables import Schema
from transformers import LlamaConfig

MODEL, NEURONS = "subject", 40
LABELLED = {
    "add": [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (1, 2)],
    "subtract": [(0, n) for n in range(10, 14)],
}
ABOUT_ADD = [(0, 0), (0, 1), (0, 2), (0, 20), (1, 0), (1, 30), (1, 31)]
MEMORY = [(0, n) for n in range(20, 30)] + [(1, n) for n in range(2, 12)]
EVERY = [(layer, neuron) for layer in (0, 1) for neuron in range(NEURONS)]
SCRIPT = "<script>alert('here')</script>"


def model(folder: Path) -> str:
    """Its configuration alone: an atlas of finished runs needs no weights."""
    sizes: dict[str, Any] = {"num_attention_heads": 2, "vocab_size": 32, "hidden_size": 16}
    LlamaConfig(num_hidden_layers=2, intermediate_size=NEURONS, **sizes).save_pretrained(folder / MODEL)
    return str(folder / MODEL)


def run(
    folder: Path, stage: str, results: dict[str, float] | None = None, **written: tuple[list[dict[str, Any]], Schema]
) -> str:
    """A finished run with these tables; columns that are not given are null."""
    with runkit.stage(stage, Options(out=folder / stage, resume=False)) as made:
        made.metrics(results or {})
        for name, (rows, schema) in written.items():
            columns = {key: each.dtype.type for key, each in schema.to_schema().columns.items()}
            frame = pl.DataFrame(rows, infer_schema_length=None)
            missing = [pl.lit(None, kind).alias(key) for key, kind in columns.items() if key not in frame.columns]
            order = [*columns, *(key for key in frame.columns if key not in columns)]
            made.table(name, frame.with_columns(missing).select(order).cast(columns), schema)
    return str(folder / stage)


def key(layer: int, neuron: int, polarity: str = "+", of: str = MODEL) -> dict[str, Any]:
    return {"model": of, "layer": layer, "neuron": neuron, "polarity": polarity}


def discover(folder: Path) -> str:
    rows = [
        key(*each) | {"hits": 3, "hit_rate": 0.1, "mean_score": 1.0, "max_score": 2.0, "focus": "+", "contrast": 0.5,
                      "promotes_ids": [1], "promotes": ["Ġ+"], "promotes_scores": [1.0], "suppresses": ["Ġx"]}
        for each in EVERY
    ]  # fmt: skip
    return run(folder, "cot-neurons.discover", neurons=(rows, cot.Neurons))


def label(
    folder: Path,
    of: str = MODEL,
    extra: tuple[int, int] | None = None,
    auroc: float | None = 0.9,
    results: dict[str, float] | None = None,
) -> str:
    """Labels with an AUROC on other chains, or untested."""
    pairs = [(concept, each) for concept, own in LABELLED.items() for each in own] + ([("add", extra)] if extra else [])
    labels = [
        key(*each, of=of) | {"concept": concept, "score": 0.5, "judge": "rules", "rationale": "", "auroc": auroc,
                             "auroc_low": 0.8, "auroc_high": 1.0, "reads_auroc": 0.5,
                             "specific_auroc": None if auroc is None else 0.8,
                             "positives": 9, "validated": None if auroc is None else True, "confidence": None}
        for concept, each in pairs
    ]  # fmt: skip
    spelled = [("add", "+", 3), ("add", "sum", 4), ("subtract", "-", 5), ("multiply", "*", 6), ("division", "/", 7)]
    coverage = [
        {"concept": name, "decoy": False, "entry": entry, "token_ids": [i], "spellings": [f"Ġ{entry}"]}
        for name, entry, i in spelled
    ]
    coverage.append({"concept": "decoy-1", "decoy": True, "entry": "decoy-1", "token_ids": [9], "spellings": ["Ġcat"]})
    return run(folder, "cot-neurons.label", results, labels=(labels, cot.Labels), coverage=(coverage, cot.Coverage))


def ablate(folder: Path, neurons: list[str]) -> str:
    """Holding `neurons` for add: own equations -3, others -1; of 20 draws of two kinds, one hurts as much."""
    one = {"condition": 1, "concept": "add", "kind": "target", "draw": 0, "mode": "mean", "amount": 1.0}
    base = {"condition": 0, "concept": None, "kind": "baseline", "draw": 0, "mode": "mean", "amount": 0.0}
    conditions = [base | {"neurons": ["L0N0"][:0]}, one | {"neurons": neurons}]
    changes = {"odds +": -3.0, "odds -": -1.0, "odds *": 0.5, "odds /": -0.5}
    numbers = {"n": 9, "value": 0.0, "baseline": 1.0, "mcnemar_p": None}
    effects = [
        one | numbers | {"metric": name, "change": change, "low": change - 0.25, "high": change + 0.25}
        for name, change in changes.items()
    ]
    tests = [
        {"concept": "add", "mode": "mean", "amount": 1.0, "metric": name, "control": control, "draws": 20,
         "change": change, "control_mean": mean, "control_worst": -4.0, "worse_than": share}
        for name, change in changes.items()
        for control, mean, share in (("random", -0.5, 1.0), ("matched", -0.75, 0.95), ("other", -0.5, 0.5))
    ]  # fmt: skip
    return run(
        folder, "cot-neurons.ablate", conditions=(conditions, ablations.Conditions),
        effects=(effects, ablations.Effects), tests=(tests, ablations.Tests),
    )  # fmt: skip


def attribute(folder: Path) -> str:
    """Labelled neurons with a description about add write 2 and more of a +, those without 1 and less."""
    rows = [
        key(*each) | {"group": "all", "kind": kind, "steps": 5, "logp": 0.25 if kind == "+" else None,
                      "logit": (2.0 if each in ABOUT_ADD else 0.75) + each[1] / 100}
        for each in LABELLED["add"]
        for kind in ("+", "text")
    ]  # fmt: skip
    return run(folder, "cot-neurons.attribute", attributions=(rows, cot.Attributions))


def score(folder: Path, scripted: bool = False) -> str:
    """Every neuron is described: some by a plus, the others by a cat."""
    rows = [
        key(*each) | {"source": "mlp_post", "candidate": 0, "scorer": "simulation", "chosen": 0.5, "value": 0.5,
                      "low": 0.25, "high": 0.75, "null_other": 0.1, "null_empty": None, "null_lookup": 0.6,
                      "description": 'fires on "+" after "4"' if each in ABOUT_ADD else 'fires on "cat"; promotes "+"'}
        for each in EVERY
    ]  # fmt: skip
    if scripted:
        rows[0]["description"] = f'fires on "+" and {SCRIPT}'
    return run(folder, "expgen.score", best=(rows, described.Best))


def selectivity(folder: Path) -> str:
    rows = [
        key(*each, sign) | {"memory": 0.5, "reason": 0.5, "auroc": 0.5, "null_low": 0.4, "null_high": 0.6, "p": 0.01,
                            "selective": "" if each not in MEMORY else "memory" if sign == "+" else "reason"}
        for each in EVERY
        for sign in "+-"
    ]  # fmt: skip
    return run(folder, "memreason.neurons", neurons=(rows, recalled.Neurons))


def emerge(folder: Path) -> str:
    """Labelled neurons are known from step 100 on and write from 200, the others from 300; the last never fires so."""
    own = {each for group in LABELLED.values() for each in group}
    rows = [
        key(*each) | {"status": "found", "known_from": 100 if each in own else 300, "fires_from": 300,
                      "writes_from": 200 if each in own else 300, "first": 0.0, "last": 1.0, "active": 0.5,
                      "stranger": 0.0}
        for each in EVERY
    ]  # fmt: skip
    rows[-1] |= {"status": "never", "known_from": None, "fires_from": None}
    return run(folder, "grokked-reasoning.emerge", emergence=(rows, grokked.Emergence))


def all_of_them(folder: Path) -> dict[str, Any]:
    """Options that name a run of every source."""
    held = [f"L{layer}N{neuron}" for layer, neuron in LABELLED["add"]]
    return {
        "model": model(folder), "neurons": discover(folder), "labels": label(folder),
        "ablations": (ablate(folder, held),), "attribution": attribute(folder), "exemplars": "none",
        "descriptions": score(folder), "selectivity": selectivity(folder), "emergence": emerge(folder),
    }  # fmt: skip
