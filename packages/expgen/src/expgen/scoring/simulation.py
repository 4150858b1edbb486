"""Scoring by simulation: do activations predicted from the description go up and down with the true ones?

The score is the signed correlation over all tokens that count; nothing is fitted to the data that are scored. (Bills et
al. 2023; Choi et al. 2024 fit a line on these very data first, which makes the score |r|.)
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from expgen.scoring import Evidence, Score, Scorer, Trial, statistics
from expgen.scoring.material import Material, material, truth
from expgen.simulating import Asked, Prediction, Simulator
from expgen.store import Excerpt, Exemplars, Feature


class Simulation(Scorer):
    """Pearson's r between predicted and true activation, max(a, 0), over the tokens that may be peaks."""

    name = "simulation"
    nulls: ClassVar[tuple[str, ...]] = ("other", "empty", "lookup")

    def __init__(self, simulator: Simulator, exemplars: Exemplars, seed: int, draws: int) -> None:
        super().__init__(seed, draws)
        self._simulator, self._exemplars = simulator, exemplars

    def evidence(self, work: Sequence[tuple[Trial, Material]]) -> list[Evidence]:
        """Samples are [2, tokens]: predicted, true."""
        asked = [
            Asked(trial.description, excerpt.text)
            for trial, given in work
            if trial.kind != "lookup"
            for excerpt in given.excerpts
        ]
        predicted = iter(self._simulator.predict(asked))
        return [
            self._looked_up(trial, given)
            if trial.kind == "lookup"
            else _paired([(excerpt, next(predicted)) for excerpt in given.excerpts])
            for trial, given in work
        ]

    def measured(self, samples: list[np.ndarray], random: np.random.Generator) -> Score:
        """Correlation over the tokens of all samples together."""
        predicted, true = np.concatenate(samples, axis=1)
        for values, what in ((true, "it does not fire in these sequences"), (predicted, "the prediction is constant")):
            if not statistics.varies(values):
                return Score.none("constant", what, len(samples))
        of = np.repeat(np.arange(len(samples)), [each.shape[1] for each in samples])
        correlation = statistics.pearson(predicted, true, of, len(samples))
        return Score(*statistics.told(correlation, len(samples), self.draws, random), len(samples), "ok", None)

    def _looked_up(self, trial: Trial, given: Material) -> Evidence:
        table = Lookup.of(self._exemplars, trial.feature)
        return _paired([(excerpt, Prediction(table.values(excerpt))) for excerpt in given.excerpts])


class Lookup(NamedTuple):
    """The baseline that knows no context: each token's mean activation over what is stored of the train split."""

    ids: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, exemplars: Exemplars, feature: Feature) -> "Lookup":
        """From all stored sequences, the strongest and the random ones."""
        given = material(exemplars, feature, "train", None, None).excerpts
        ids, true = (np.concatenate(each) for each in ([x.text.ids for x in given], [truth(x) for x in given]))
        known = np.isfinite(true)
        seen, of = np.unique(ids[known], return_inverse=True)
        return cls(seen, np.bincount(of, true[known], len(seen)) / np.bincount(of, minlength=len(seen)))

    def values(self, excerpt: Excerpt) -> Float[np.ndarray, " T"]:
        """The prediction for each token; 0 for one that was never seen."""
        ids = excerpt.text.ids
        at = np.searchsorted(self.ids, ids)
        found = np.isin(ids, self.ids)
        return np.where(found, self.means[np.where(found, at, 0)], 0.0) if len(self.ids) else np.zeros(len(ids))


def _paired(predicted: Sequence[tuple[Excerpt, Prediction]]) -> Evidence:
    """Predicted and true activation where both are known."""
    samples: list[np.ndarray] = []
    faults: list[str] = []
    for excerpt, prediction in predicted:
        if prediction.values is None:
            faults.append(prediction.fault or "no prediction")
            continue
        pair = np.stack([np.asarray(prediction.values, dtype=float), truth(excerpt)])
        pair = pair[:, np.isfinite(pair).all(axis=0)]
        if pair.shape[1]:
            samples.append(pair)
        else:
            faults.append("no token has both a prediction and an activation")
    return Evidence(samples, faults)
