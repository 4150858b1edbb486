"""One small story told by hand in the tables of every stage, with text in it that would break a careless page."""

from pathlib import Path
from typing import Any

import polars as pl
from cot_neurons import tables
from cot_neurons.ablation import tables as ablations

from tests.packages.cot_neurons.handmade import discovered, frame, run

EVIL = "<script>alert('x')</script> & \"quoted\" \u202eback"
CHAIN = [("<b>so ", "text"), ("2", "operand"), (" +", "operator"), (" 3", "operand"), (" =", "equals"), ("5", "result"),
         ("\n", "text")]  # fmt: skip
ROWS = 6
KEPT = [
    *((row, 2, 1, 7, 10.0 + row) for row in range(ROWS)),  # L1N7+ fires when " +" is written, most in the last item
    *((row, 4, 0, 3, -4.0) for row in range(ROWS)),  # L0N3- at " ="
    *((row, 5, 1, 2, 1.5) for row in range(ROWS)),
]
ANSWERED = {"cot": [True, True, True, True, False, True], "text_only": [True, False, True, False, False, False]}
ADD = {"layer": 1, "neuron": 7, "polarity": "+"}
EQUALS = {"layer": 0, "neuron": 3, "polarity": "-"}
DRAWS = [-0.1, 0.0, 0.05, 0.1]


def answers(folder: Path, variant: str, model: str = "toy") -> Path:
    rows = [
        {
            "model": model, "variant": variant, "row": row, "id": str(row), "question": f"How many? {EVIL}",
            "gold": "5", "solution": None, "prompt_ids": [1], "new_ids": list(range(len(CHAIN))),
            "text": f"{EVIL} 2 + 3 = 5", "new_tokens": len(CHAIN), "finish": "stop", "strict": "5" if right else "6",
            "flexible": "5", "correct_strict": right, "correct_flexible": True, "no_answer": False, "equations": 2,
            "equations_true": 1,
        }
        for row, right in enumerate(ANSWERED[variant])
    ]  # fmt: skip
    return run(folder, "cot-neurons.infer", items=frame(rows, tables.Items))


def chains(folder: Path) -> Path:
    told = [(row, token, tag) for row in range(ROWS) for token, tag in CHAIN]
    return discovered(folder, told, KEPT)


def labelled(folder: Path, model: str = "toy") -> Path:
    common = {"model": model, "judge": "rules", "rationale": EVIL, "confidence": None}
    tested = {
        "auroc": 0.9,
        "auroc_low": 0.8,
        "auroc_high": 0.97,
        "specific_auroc": 0.7,
        "reads_auroc": 0.5,
        "positives": 12,
        "validated": True,
    }
    untested = dict.fromkeys(("auroc", "auroc_low", "auroc_high", "specific_auroc", "reads_auroc", "validated")) | {
        "positives": 0
    }
    labels = [
        {**ADD, **common, "concept": "add", "score": 0.75, **tested},
        {**EQUALS, **common, "concept": "<i>equals", "score": 0.5, **untested},
        {**ADD, **common, "concept": "<i>equals", "score": 0.25, **tested, "auroc_low": 0.4, "validated": False},
    ]
    verdicts = [
        {
            "model": model,
            **pole,
            "judge": "rules",
            "status": status,
            "concepts": [],
            "confidence": None,
            "rationale": "",
        }
        for pole, status in ((ADD, "labelled"), (EQUALS, "labelled"), ({**EQUALS, "neuron": 9}, "none"))
    ]
    controls = [
        {"judge": "rules", "control": control, "asked": 200, "labelled": n, "rate": n / 200}
        for control, n in (("concepts", 30), ("decoys", 5), ("shuffled", 1))
    ]
    agreement = {"concept": "add", "judge": "rules", "other": "gpt", "both": 3, "only_judge": 1, "only_other": 2,
                 "neither": 40, "kappa": 0.61}  # fmt: skip
    return run(
        folder, "cot-neurons.label", labels=frame(labels, tables.Labels), verdicts=frame(verdicts, tables.Verdicts),
        controls=frame(controls, tables.Controls), agreement=frame([agreement], tables.Agreement),
    )  # fmt: skip


def active(folder: Path) -> Path:
    rows = [
        {"variant": variant, "accuracy": accuracy, "concept": concept, "tag": tag, "group": group, "items": 6,
         "active": value, "active_low": value - 0.25, "active_high": value + 0.25, "strength": 1.0,
         "strength_low": None, "strength_high": None}
        for concept in ("add", "<i>equals")
        for variant, accuracy, mean in (("text_only", 2 / 6, 0.5), ("cot", 5 / 6, 1.5))
        for tag, size in (("all", 1), ("operator", 2))
        for group, value in (("all", size * mean), ("right", size * mean + 0.1), ("wrong", None))
        if value is not None
    ]  # fmt: skip
    correlations = [
        {"concept": concept, "measure": measure, "level": level, "n": 2, "r": r, "r_low": low, "r_high": high, "rho": r}
        for concept, r, low, high in (("add", 0.8, 0.2, 0.9), ("<i>equals", 0.1, -0.5, 0.6))
        for measure in ("active", "strength")
        for level in ("variants", "cot")
    ]
    return run(
        folder, "cot-neurons.activity", activity=frame(rows, tables.Activity),
        correlations=frame(correlations, tables.Correlations),
    )  # fmt: skip


METRICS = {"strict": -0.25, "solved +": -0.41, "solved -": 0.0, "logp +": -0.004, "odds +": -1.5}


def _beaten(metric: str, control: str) -> float:
    """Half of the other concepts' neurons hurt less; and half of the matched ones, as to answers as a whole."""
    return 0.5 if control == "other" or (metric, control) == ("strict", "matched") else float(METRICS[metric] < -0.1)


def ablated(folder: Path) -> Path:
    """Ablating add takes 0.41 from its equations, more than all draws do; it costs the others nothing."""
    conditions = [
        {"condition": 0, "concept": None, "kind": "baseline", "draw": 0, "mode": "mean", "amount": 1.0, "neurons": []}
    ]
    effects: list[dict[str, Any]] = []
    for kind, draw in [("target", 0), *(("random", i) for i in range(len(DRAWS)))]:
        number = len(conditions)
        about = {"condition": number, "concept": "add", "kind": kind, "draw": draw, "mode": "mean", "amount": 1.0}
        conditions.append({**about, "neurons": ["L1N7", "L1N9"]})
        for metric, change in METRICS.items():
            change = change if kind == "target" else (0.0 if metric == "solved -" else DRAWS[draw])
            effects.append({**about, "metric": metric, "n": 6, "value": 0.5, "baseline": 0.9, "change": change,
                            "low": change - 0.05, "high": change + 0.05, "mcnemar_p": None})  # fmt: skip
    tests = [
        {"concept": "add", "mode": "mean", "amount": 1.0, "metric": metric, "control": control, "draws": 4,
         "change": change, "control_mean": 0.0125, "control_worst": -0.1, "worse_than": _beaten(metric, control)}
        for metric, change in METRICS.items()
        for control in ("random", "matched", "other")
    ]  # fmt: skip
    return run(
        folder, "cot-neurons.ablate", conditions=frame(conditions, ablations.Conditions),
        effects=frame(effects, ablations.Effects), tests=frame(tests, ablations.Tests),
    )  # fmt: skip


def attributed(folder: Path) -> Path:
    found = [
        {"model": "toy", **pole, "group": group, "kind": kind, "steps": 12, "logit": logit, "logit_low": logit - 0.1,
         "logit_high": logit + 0.1, "logp": None, "logp_low": None, "logp_high": None}
        for pole, kind, logit in ((ADD, "+", 3.5), (EQUALS, "+", 0.5), (EQUALS, "equals", 2.25))
        for group in ("all", "right")
    ]  # fmt: skip
    contrasts = [
        {"model": "toy", **pole, "contrast": "right - wrong", "kind": "+", "difference": difference, "low": low,
         "high": high, "items": 2}
        for pole, difference, low, high in ((ADD, 0.7, 0.2, 1.1), (EQUALS, 0.9, -0.1, 1.9), (EQUALS, -0.3, -0.5, -0.1))
    ]  # fmt: skip
    return run(
        folder, "cot-neurons.attribute", attributions=frame(found, tables.Attributions),
        contrasts=frame(contrasts, tables.Contrasts),
    )  # fmt: skip


def stable(folder: Path) -> Path:
    rows = [
        {"axis": axis, "kind": kind, "amount": amount, "one": one, "other": other, "size_one": 10, "size_other": 10,
         "shared": 5, "jaccard": jaccard, "chance": 0.05}
        for kind in ("+", "equals")
        for axis, amount, one, other, jaccard in (
            ("items", 5, "a", "b", 0.25), ("items", 5, "c", "d", 0.75), ("seed", 10, "a", "b", 0.6),
            ("seed", 10, "c", "d", 0.8), ("k", 2, "k 2", "k 10", 0.45), ("prompt", None, "cot", "text_only", 0.3),
        )
    ]  # fmt: skip
    return run(folder, "cot-neurons.stability", overlaps=frame(rows, tables.Overlaps))


def told(folder: Path) -> dict[str, Any]:
    """All runs, as options of `report`."""
    return {
        "items": (str(answers(folder / "infer-cot", "cot")), str(answers(folder / "infer-text", "text_only"))),
        "neurons": str(chains(folder / "discover")),
        "labels": str(labelled(folder / "label")),
        "activity": str(active(folder / "activity")),
        "ablation": (str(ablated(folder / "ablate")),),
        "attribution": str(attributed(folder / "attribute")),
        "stability": str(stable(folder / "stability")),
    }


def table(folder: str, name: str) -> pl.DataFrame:
    return pl.read_parquet(Path(folder) / "tables" / f"{name}.parquet")
