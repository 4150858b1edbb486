"""How well what a neuron promotes matches a concept, and whether a meaningless direction would match as well.

A neuron's list holds the tokens it promotes, the strongest first, each with a strength: the z-score over the vocabulary
of what the neuron writes. Its gain with a concept is the sum of strength / log2(1 + rank) over those tokens of the list
that are the concept's (discounted cumulative gain, Järvelin & Kekäläinen 2002); its score is the gain as a share of the
best that this list could have, were its first places the concept's.

The null list is that of a direction drawn at random: its z-scores are the highest of so many standard normal numbers as
the vocabulary has tokens, and any token may stand at any place. How many of a concept's tokens such a list holds is
hypergeometric; given so many, their gain is sampled. Taking the two apart lets small p be told from few draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import comb

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

DRAWS = 100_000
_RARE = 1e-12  # numbers of matches less likely than this count as a match that nothing exceeds


@dataclass(frozen=True)
class Lists:
    """What n neurons promote: K token ids each, the strongest first, and the strength of each (0: not promoted)."""

    ids: Int[np.ndarray, "n K"]
    strengths: Float[np.ndarray, "n K"]

    def hits(self, token_ids: Sequence[int]) -> Bool[np.ndarray, "n K"]:
        """Where a list names one of the tokens."""
        return np.isin(self.ids, token_ids) & (self.strengths > 0)

    def gains(self, token_ids: Sequence[int]) -> Float[np.ndarray, " n"]:
        """Discounted strength of what matches."""
        return (self._discounted * self.hits(token_ids)).sum(axis=1)

    def scores(self, token_ids: Sequence[int]) -> Float[np.ndarray, " n"]:
        """The gain as a share of the list's best possible, 0 to 1."""
        best = self._discounted[:, : len(token_ids)].sum(axis=1)
        return np.divide(self.gains(token_ids), best, out=np.zeros_like(best), where=best > 0)

    @property
    def _discounted(self) -> Float[np.ndarray, "n K"]:
        return self.strengths * discounts(self.ids.shape[1])


def discounts(k: int) -> Float[np.ndarray, " K"]:
    """Weight of each rank: 1, 0.63, 0.5, ..."""
    return 1 / np.log2(np.arange(k) + 2)


class NullGains:
    """Gains of lists of random directions: `k` places, out of a vocabulary of `vocab` tokens."""

    def __init__(self, k: int, vocab: int, seed: int, draws: int = DRAWS) -> None:
        self._k, self._vocab = k, vocab
        self._random = np.random.default_rng(seed)
        self._lists = np.maximum(_highest_normals(self._random, draws, k, vocab), 0) * discounts(k)
        self._sorted: list[Float[np.ndarray, " draws"]] = []  # at i, the gains of lists with i + 1 matches

    def p(self, gains: Float[np.ndarray, " n"], tokens: int) -> Float[np.ndarray, " n"]:
        """Share of random lists that gain as much with a concept of so many tokens; 1 where nothing matches."""
        p = np.zeros(len(gains))
        for matches in range(1, min(tokens, self._k) + 1):
            chance = self._chance(matches, tokens)
            p += chance * (1.0 if chance < _RARE else self._exceeding(matches, gains))
        return np.where(gains > 0, np.minimum(p, 1), 1.0)

    def _chance(self, matches: int, tokens: int) -> float:
        others = self._vocab - tokens
        ways = comb(tokens, matches) * comb(others, self._k - matches)
        return ways / comb(self._vocab, self._k)

    def _exceeding(self, matches: int, gains: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        while len(self._sorted) < matches:
            self._sorted.append(self._sample(len(self._sorted) + 1))
        sample = self._sorted[matches - 1]
        below = np.searchsorted(sample, gains, side="left")
        return (1 + len(sample) - below) / (1 + len(sample))

    def _sample(self, matches: int) -> Float[np.ndarray, " draws"]:
        places = np.argpartition(self._random.random(self._lists.shape), matches - 1, axis=1)[:, :matches]
        return np.sort(np.take_along_axis(self._lists, places, axis=1).sum(axis=1))


@cache
def null_gains(k: int, vocab: int, seed: int) -> NullGains:
    """The same for the same arguments, so drawn once per process: a pipeline labels several times."""
    return NullGains(k, vocab, seed)


def _highest_normals(random: np.random.Generator, draws: int, k: int, of: int) -> Float[np.ndarray, "draws k"]:
    """The `k` highest of `of` standard normal numbers, highest first; their tail probabilities are uniform's lowest."""
    spacings = random.standard_exponential((draws, k)).cumsum(axis=1)
    whole = spacings[:, -1:] + random.standard_gamma(of + 1 - k, (draws, 1))
    return -torch.special.ndtri(torch.from_numpy(spacings / whole)).numpy()


def false_discovery_rates(p: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Benjamini & Hochberg's (1995) adjusted p: the false discovery rate at which each test would just be accepted."""
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return adjusted
