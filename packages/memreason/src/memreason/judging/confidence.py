"""Whether a student is surer of its right answers."""

import polars as pl
from sklearn.metrics import roc_auc_score


def confidence(answers: pl.DataFrame) -> dict[str, float]:
    """Mean log-probability per written token of right and of wrong answers (nats), and the AUROC with which it tells
    them apart: 0.5 by chance. Left out where a side is missing. `answers`: `tables.Answers`."""
    known = answers.drop_nulls("logprob")
    sides = {name: known.filter(correct=right)["logprob"] for name, right in (("right", True), ("wrong", False))}
    told = {f"logprob_{name}": float(values.to_numpy().mean()) for name, values in sides.items() if len(values)}
    if len(told) < len(sides):
        return told
    return {**told, "confidence_auroc": float(roc_auc_score(known["correct"].to_numpy(), known["logprob"].to_numpy()))}
