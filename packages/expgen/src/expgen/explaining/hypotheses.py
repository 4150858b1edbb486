"""What a feature may be firing on: hypotheses in the form of `phrases`, each as good as it predicts the evidence.

A list of words is found without search: of all lists of n words, the n with the highest mean activation leave the
least variance unexplained (Fisher 1958; Breiman et al. 1984, section 9.4), so only n is to be chosen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from expgen.explaining.evidence import NONE, Evidence
from expgen.explaining.phrases import KINDS, PLACES, WEAK, Phrase

_MOST, _MOST_PLACED = 8, 4  # words in a list; where the place matters too
_TEXTS = 2  # in which a word must stand before what fires: before any peak stands something
_COVERS = 0.9  # share of the activation that the words of a subject, or a kind of token, must cover
_SHARED = 0.6  # share of the firing texts in which a word must stand before, to be tried
_TRIED = 8  # words tried as standing somewhere before
_COSTS = {"word": 0.01, "weak": 0.02, "kind": 0.015, "place": 0.03}  # correlation that more words have to gain


class Hypothesis(NamedTuple):
    """A phrase and what it is worth: its correlation with the activations, less what its complexity costs.

    `cost`: of all but the words that are listed.
    """

    phrase: Phrase
    worth: float
    cost: float = 0.0

    @property
    def family(self) -> tuple[bool, str, str]:
        """What kind of explanation it is."""
        return bool(self.phrase.on), self.phrase.kind, self.phrase.place

    @property
    def prediction(self) -> tuple[str, float]:
        """Phrases that predict the same share it, such as "\\n" and line breaks: place and correlation."""
        listed = max(len(self.phrase.of or self.phrase.on + self.phrase.weakly) - 1, 0)
        return self.phrase.place, round(self.worth + self.cost + listed * _COSTS["word"], 9)


class _Subject(NamedTuple):
    """What fires where the place is right: a phrase without place, the tokens it means, and its cost."""

    phrase: Phrase
    mask: Bool[np.ndarray, " N"]
    cost: float


def hypotheses(evidence: Evidence, most: int) -> list[Phrase]:
    """At most so many different phrases, the best first, but one of each kind of explanation before two of one.

    There is at least one.
    """
    found = sorted(_all(evidence), key=lambda each: (-each.worth, str(each.phrase)))
    firsts: dict[tuple[bool, str, str], Hypothesis] = {}
    predicted: set[tuple[str, float]] = set()
    for each in found:
        if each.family not in firsts and each.prediction not in predicted:
            firsts[each.family] = each
            predicted.add(each.prediction)
    return list(dict.fromkeys(each.phrase for each in (*firsts.values(), *found)))[:most]


def _all(evidence: Evidence) -> Iterator[Hypothesis]:
    yield from _on_words(evidence)
    for subject in _subjects(evidence):
        if subject.phrase.kind:
            yield Hypothesis(subject.phrase, _fit(evidence, subject.mask) - subject.cost, subject.cost)
        for place, steps in PLACES.items():
            words, worth = _right_after(evidence, subject, steps) if steps else _somewhere_after(evidence, subject)
            if words:
                phrase = replace(subject.phrase, place=place, of=words)
                cost = subject.cost + _COSTS["place"]
                yield Hypothesis(phrase, worth - cost, cost)


def _on_words(evidence: Evidence) -> Iterator[Hypothesis]:
    """The words themselves: strong ones, strong and weak ones, and the strongest alone."""
    order, count, total = _by_mean(evidence, evidence.word, evidence.counts)
    count, total = count[: 2 * _MOST].cumsum(), total[: 2 * _MOST].cumsum()
    words = _said(evidence, order)
    plain = _correlations(evidence, count, count, total) - _COSTS["word"] * np.arange(len(count))
    best = int(plain[:_MOST].argmax())
    yield Hypothesis(Phrase(on=words[: best + 1]), float(plain[best]))
    yield Hypothesis(Phrase(on=words[:1]), float(plain[0]))
    for strong in range(min(_MOST, len(count) - 1)):
        x = WEAK * count[strong + 1 :] + (1 - WEAK) * count[strong]
        xx = WEAK**2 * count[strong + 1 :] + (1 - WEAK**2) * count[strong]
        xy = WEAK * total[strong + 1 :] + (1 - WEAK) * total[strong]
        worth = _correlations(evidence, x, xx, xy) - _COSTS["word"] * np.arange(strong + 1, len(count))
        most = int(worth[:_MOST].argmax())
        weak = words[strong + 1 : strong + 2 + most]
        yield Hypothesis(
            Phrase(on=words[: strong + 1], weakly=weak), float(worth[most]) - _COSTS["weak"], _COSTS["weak"]
        )


def _subjects(evidence: Evidence) -> Iterator[_Subject]:
    """What may fire in the right place: anything, the words that do fire, and kinds of token that these are of."""
    yield _Subject(Phrase(), evidence.counts, 0.0)
    mass = np.bincount(
        evidence.word, evidence.y * evidence.fires * (evidence.word != evidence.empty), len(evidence.words)
    )
    order = np.argsort(-mass, kind="stable")
    enough = int(np.searchsorted(mass[order].cumsum(), _COVERS * mass.sum())) + 1
    if mass.sum() > 0 and enough <= _MOST_PLACED:
        on = order[:enough]
        yield _Subject(
            Phrase(on=_said(evidence, on)), evidence.counts & np.isin(evidence.word, on), _COSTS["word"] * enough
        )
    for kind in _kinds(evidence):
        of_kind = np.concatenate([_of_kind(kind, text) for text in evidence.texts])
        yield _Subject(Phrase(kind=kind), evidence.counts & of_kind, _COSTS["kind"])


def _kinds(evidence: Evidence) -> Iterator[str]:
    """The kinds of token that nearly all that fires is of."""
    fires = np.flatnonzero(evidence.fires)
    mass = evidence.y[fires]
    tokens = [(evidence.texts[evidence.of_text[i]], int(evidence.at[i])) for i in fires]
    for kind, is_one in KINDS.items():
        if mass @ [is_one(*token) for token in tokens] >= _COVERS * mass.sum():
            yield kind


@lru_cache(maxsize=1 << 13)
def _of_kind(kind: str, text: tuple[str, ...]) -> Bool[np.ndarray, " T"]:
    return np.array(Phrase(kind=kind).weights(text), dtype=bool)


def _right_after(evidence: Evidence, subject: _Subject, steps: int) -> tuple[tuple[str, ...], float]:
    """The words that have to stand so many tokens before, and what they are worth."""
    before = evidence.before(steps)
    mask = subject.mask & (before != NONE)
    order, count, total = _by_mean(evidence, before, mask)
    known = evidence.texts_of(before, mask & evidence.fires)[order] >= _TEXTS
    if not known.any():
        return (), 0.0
    count, total = count[known][:_MOST_PLACED].cumsum(), total[known][:_MOST_PLACED].cumsum()
    worth = _correlations(evidence, count, count, total) - _COSTS["word"] * np.arange(len(count))
    best = int(worth.argmax())
    return _said(evidence, order[known][: best + 1]), float(worth[best])


def _somewhere_after(evidence: Evidence, subject: _Subject) -> tuple[tuple[str, ...], float]:
    """Words of which one has to stand anywhere before, added one by one, and what they are worth."""
    tokens = subject.mask & evidence.fires
    found = evidence.stands_before(tokens)
    texts = len(np.unique(evidence.of_text[tokens]))
    spread = np.bincount(evidence.word, minlength=len(evidence.words))
    tried = np.flatnonzero(found >= max(_TEXTS, _SHARED * texts))
    tried = tried[np.lexsort((spread[tried], -found[tried]))]
    tried = tried[tried != evidence.empty][:_TRIED]
    masks = {int(word): subject.mask & evidence.after_first(int(word)) for word in tried}
    words: list[int] = []
    mask, worth = np.zeros_like(subject.mask), -np.inf
    while masks and len(words) < _MOST_PLACED:
        fits = {word: _fit(evidence, mask | each) - _COSTS["word"] * len(words) for word, each in masks.items()}
        best = max(fits, key=fits.__getitem__)
        if fits[best] <= worth:
            break
        worth, mask = fits[best], mask | masks.pop(best)
        words.append(best)
    return _said(evidence, words), worth


def _by_mean(
    evidence: Evidence, category: Int[np.ndarray, " N"], mask: Bool[np.ndarray, " N"]
) -> tuple[Int[np.ndarray, " C"], Float[np.ndarray, " C"], Float[np.ndarray, " C"]]:
    """Words by mean activation in this role, the highest first, with how often they stand there and their sum.

    A word seen once is believed half: the mean counts one more token at which nothing fires.
    """
    mask = mask & (category != evidence.empty)
    count = np.bincount(category[mask], minlength=len(evidence.words)).astype(float)
    total = np.bincount(category[mask], evidence.y[mask], len(evidence.words))
    order = np.argsort(-total / (count + 1), kind="stable")
    order = order[total[order] > 0]
    return order, count[order], total[order]


def _fit(evidence: Evidence, mask: Bool[np.ndarray, " N"]) -> float:
    """Correlation of the activations with being among these tokens."""
    count, total = np.array([mask.sum()], dtype=float), np.array([evidence.y[mask].sum()])
    return float(_correlations(evidence, count, count, total)[0])


def _correlations(
    evidence: Evidence, x: Float[np.ndarray, " n"], xx: Float[np.ndarray, " n"], xy: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Pearson's r of predictions with the activations, from their sums over all tokens; 0 where it is undefined."""
    x, xx, xy = x / evidence.n, xx / evidence.n, xy / evidence.n
    spread = np.sqrt(np.maximum(xx - x**2, 0)) * evidence.std
    return np.divide(xy - x * evidence.mean, spread, out=np.zeros(len(x)), where=spread > 1e-12)


def _said(evidence: Evidence, words: Sequence[int] | Int[np.ndarray, " n"]) -> tuple[str, ...]:
    return tuple(evidence.words[int(word)] for word in words)
