"""What a feature did in the sequences of a split on which its descriptions are scored."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from expgen.store import Excerpt, Exemplars, Feature

FIRES = 0.3
"""A feature fires in a text, or at a token, where it reaches this share of its strongest activation in the split."""

_STRIDE = 7919  # a prime, so that stretches of neighbouring sequences begin all over the place


class Material(NamedTuple):
    """Excerpts of one split, the strongest first, then random ones. `peak`: the strongest activation among them."""

    split: str
    excerpts: tuple[Excerpt, ...]
    peak: float

    def part(self, number: int, of: int) -> "Material":
        """One of `of` parts, each with its share of the strongest and of the random."""
        return self._replace(excerpts=self.excerpts[number::of])


def material(exemplars: Exemplars, feature: Feature, split: str, shown: int | None, random: int | None) -> Material:
    """The strongest `shown` sequences and `random` random ones that are not among these (None: all there are).

    Random sequences are cut to the length of the windows around peaks: else how long a text is would tell which it is.
    """
    top = exemplars.excerpts(feature, split, None if shown is None else range(shown))
    known = {each.sequence for each in top}
    most = None if random is None else random + len(known)
    drawn = [each for each in exemplars.random(feature, split, most) if each.sequence not in known][:random]
    drawn = [_cut(each, exemplars.about["window"]) for each in drawn]
    strongest = [each.activations[each.text.valid] for each in (*top, *drawn)]
    peak = max((float(np.nanmax(values)) for values in strongest if np.isfinite(values).any()), default=0.0)
    return Material(split, (*top, *drawn), peak)


def _cut(excerpt: Excerpt, window: int) -> Excerpt:
    """A stretch of `window` tokens, somewhere in the sequence: where is a function of its number."""
    start = excerpt.sequence * _STRIDE % max(1, len(excerpt.text.ids) - window + 1)
    end = start + window
    return excerpt._replace(text=excerpt.text.cut(start, end), activations=excerpt.activations[start:end])


def truth(excerpt: Excerpt) -> Float[np.ndarray, " T"]:
    """How strongly the feature fires at each token; NaN where that is not known or the token does not count."""
    return np.where(excerpt.text.valid, np.maximum(excerpt.activations, 0), np.nan)  # NaN stays NaN


def fires(excerpt: Excerpt, peak: float) -> np.ndarray:
    """At which tokens [T] the feature fires, given its peak."""
    return np.nan_to_num(truth(excerpt)) >= max(FIRES * peak, np.finfo(float).tiny)
