"""The offline explainer: hypotheses from activating tokens and what stands before them; no model is asked."""

from collections.abc import Sequence
from dataclasses import replace

from expgen.explaining import Candidate
from expgen.explaining.evidence import Evidence
from expgen.explaining.hypotheses import hypotheses
from expgen.explaining.promoted import Promoted
from expgen.scoring.material import material
from expgen.store import Exemplars, Feature


class Tokens:
    """Describes in the form of `phrases`, from the strongest train sequences and as many random ones."""

    name = "tokens"

    def __init__(self, exemplars: Exemplars, shown: int, candidates: int, promoted: Promoted | None) -> None:
        self._exemplars, self._shown, self._candidates, self._promoted = exemplars, shown, candidates, promoted

    def describe(self, features: Sequence[Feature]) -> list[Candidate]:
        """Different hypotheses about each feature, the best first: fewer where there are no more."""
        promotes = self._promoted.tokens(features) if self._promoted else {}
        return [each for feature in features for each in self._candidates_of(feature, promotes.get(feature, ()))]

    def _candidates_of(self, feature: Feature, promotes: tuple[str, ...]) -> list[Candidate]:
        seen = material(self._exemplars, feature, "train", self._shown, self._shown)
        shown = [each.rank for each in seen.excerpts if each.rank >= 0]
        phrases = hypotheses(Evidence(seen), self._candidates)
        return [
            Candidate(feature, number, str(replace(phrase, promotes=promotes)), "ok", None, shown)
            for number, phrase in enumerate(phrases)
        ]
