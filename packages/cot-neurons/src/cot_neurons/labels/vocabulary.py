"""Which tokens of a vocabulary spell a concept's words: any case, with or without leading space, one or several."""

from collections.abc import Mapping, Sequence
from functools import partial

import actkit
import polars as pl
from runkit.errors import UsageError

from cot_neurons import tables
from cot_neurons.labels.concepts import Concept

_SHORTEST = 3  # letters of a word that has a plural: "x" and "so" have none


class Vocabulary:
    """What every token of a model says by itself.

    Attributes:
        size: rows of the model's head.
    """

    def __init__(self, model: actkit.Model) -> None:
        tokenizer = model.tokenizer
        assert tokenizer is not None  # a Subject has one
        self.size = model.dims.vocab
        ids = list(range(min(self.size, len(tokenizer))))
        beyond = range(len(ids), self.size)  # rows of the head that no token has
        self._spellings = [*map(str, tokenizer.convert_ids_to_tokens(ids)), *(f"<{i}>" for i in beyond)]
        decode = partial(tokenizer.batch_decode, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        self._texts: list[str] = [*decode([[i] for i in ids]), *("" for _ in beyond)]
        self._ids: dict[str, list[int]] = {}
        for token_id, text in enumerate(self._texts):
            if key := _key(text):
                self._ids.setdefault(key, []).append(token_id)

    def spell(self, token_ids: Sequence[int]) -> list[str]:
        """The vocabulary's own spellings, leading-space marks kept."""
        return [self._spellings[token_id] for token_id in token_ids]

    def texts(self, token_ids: Sequence[int]) -> list[str]:
        """What the tokens say, as people write it, leading spaces included."""
        return [self._text(token_id) for token_id in token_ids]

    def _text(self, token_id: int) -> str:
        """SentencePiece drops the space of a token that stands first, so it is put back."""
        text, spelling = self._texts[token_id], self._spellings[token_id]
        if not text:
            return spelling  # a special token, or none
        return f" {text}" if spelling.startswith("▁") and not text.startswith(" ") else text

    def ids(self, entry: str) -> list[int]:
        """The tokens that say `entry` or its plural, in whatever case, leading and trailing white space aside."""
        found = (self._ids.get(form, []) for form in {_key(entry), plural(_key(entry))})
        return sorted(token_id for ids in found for token_id in ids)

    def coverage(self, concepts: Sequence[Concept]) -> pl.DataFrame:
        """The table `coverage` of real concepts: one row per entry.

        Raises:
            UsageError: not one entry of any concept is a token.
        """
        rows = [
            (concept.name, False, entry, ids := self.ids(entry), self.spell(ids))
            for concept in concepts
            for entry in dict.fromkeys(concept.tokens)
        ]
        if not any(ids for *_, ids, _ in rows):
            words = ", ".join(repr(entry) for _, _, entry, _, _ in rows[:5])
            raise UsageError(
                f"--concepts: no word of any concept ({words}, ...) is a single token of this model's vocabulary: "
                "give words that are (the table promotes of `discover` shows how it spells)"
            )
        return pl.DataFrame(rows, tables.columns(tables.Coverage), orient="row")

    def coverage_of_decoys(self, decoys: Mapping[str, Sequence[int]]) -> pl.DataFrame:
        """The table `coverage` of decoys: one row each."""
        rows = [(name, True, name, ids, self.spell(ids)) for name, ids in decoys.items()]
        return pl.DataFrame(rows, tables.columns(tables.Coverage), orient="row")


def token_ids(coverage: pl.DataFrame, *, decoy: bool = False) -> dict[str, list[int]]:
    """The tokens of each concept (or decoy), in the order of the table; without those that have none."""
    chosen = coverage.filter(pl.col("decoy") == decoy)
    grouped = chosen.group_by("concept", maintain_order=True).agg(pl.col("token_ids").explode().drop_nulls())
    return {name: sorted(set(ids)) for name, ids in grouped.iter_rows() if ids}


def plural(word: str) -> str:
    """The regular English plural of a word; what is none, or too short to have one, stays as it is."""
    if not word.isalpha() or len(word) < _SHORTEST:
        return word
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


def _key(text: str) -> str:
    return text.strip().casefold()
