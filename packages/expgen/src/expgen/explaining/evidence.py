"""What a feature did at every token of the train sequences that an explainer may look at."""

from functools import lru_cache
from itertools import chain

import numpy as np
from jaxtyping import Bool, Float, Int

from expgen.scoring.material import Material, truth
from expgen.store import Text

_HALF = 0.5  # share of the peak at which a token counts as activating
NONE = -1
"""Code of a token that is not there, such as the one before the first."""


class Evidence:
    """All tokens of some texts in one row, so that hypotheses can be held against all of them at once.

    A word is a token without the white space around it (one that is nothing but white space: as it is).

    Attributes:
        texts: the tokens of each text, white space included.
        y: how strongly the feature fires at each token, as a share of its peak.
        counts: whether the token counts; of text: which text it is of.
        words: the different words; word: which of them each token is.
        empty: the word of BOS and the like; `NONE` where there is no such token.
        fires: the tokens that reach half of the peak.
        n, mean, std: how many tokens count, and of `y` there.
    """

    def __init__(self, material: Material) -> None:
        self.texts = [slices(each.text) for each in material.excerpts]
        y = np.concatenate([truth(each) for each in material.excerpts])
        self.counts: Bool[np.ndarray, " N"] = np.isfinite(y)
        self.y: Float[np.ndarray, " N"] = np.where(self.counts, y, 0.0) / material.peak
        codes: dict[str, int] = {}
        said = [token.strip() or token for token in chain.from_iterable(self.texts)]
        self.word: Int[np.ndarray, " N"] = np.array([codes.setdefault(each, len(codes)) for each in said])
        self.words = list(codes)
        self.empty = codes.get("", NONE)
        lengths = [len(each) for each in self.texts]
        self.of_text: Int[np.ndarray, " N"] = np.repeat(np.arange(len(lengths)), lengths)
        self.at: Int[np.ndarray, " N"] = np.concatenate([np.arange(length) for length in lengths])
        self.fires: Bool[np.ndarray, " N"] = self.y >= _HALF
        self.n, self.mean, self.std = int(self.counts.sum()), self.y[self.counts].mean(), self.y[self.counts].std()

    def before(self, steps: int) -> Int[np.ndarray, " N"]:
        """The word so many tokens before each token; `NONE` where the text begins later."""
        back = np.roll(self.word, steps)
        return np.where(self.at >= steps, back, NONE)

    def after_first(self, word: int) -> Bool[np.ndarray, " N"]:
        """The tokens that this word stands before, anywhere in their text."""
        first = np.full(len(self.texts), len(self.at))
        found = np.flatnonzero(self.word == word)
        np.minimum.at(first, self.of_text[found], self.at[found])
        return self.at > first[self.of_text]

    def texts_of(self, category: Int[np.ndarray, " N"], mask: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " words"]:
        """In how many texts each word stands in some role at these tokens."""
        pairs = np.unique(np.stack([category[mask], self.of_text[mask]]), axis=1)
        return np.bincount(pairs[0], minlength=len(self.words))

    def stands_before(self, tokens: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " words"]:
        """In how many texts each word stands before the first of these tokens."""
        count = np.zeros(len(self.words), dtype=np.int64)
        for text in np.unique(self.of_text[tokens]):
            within = self.of_text == text
            first = self.at[within & tokens].min()
            count[np.unique(self.word[within & (self.at < first)])] += 1
        return count


def slices(text: Text) -> tuple[str, ...]:
    """Each token as it stands in the text, the white space before it included; empty for BOS and the like.

    Tokens that are pieces of one character all have the whole of it.
    """
    return _slices(text.text, text.spans.astype(np.int64).tobytes())


@lru_cache(maxsize=1 << 13)
def _slices(text: str, spans: bytes) -> tuple[str, ...]:
    """Most features of a model share their texts."""
    done, found = 0, []
    for start, end in np.frombuffer(spans, dtype=np.int64).reshape(-1, 2).tolist():
        found.append(text[min(start, done) if end > done else start : end] if end > start else "")
        done = max(done, end)
    return tuple(found)
