"""The offline explainer says of planted features what was planted."""

from pathlib import Path

import polars as pl
from expgen.describe import describe
from expgen.explaining.phrases import parse

from tests.packages.expgen import describe_subjects as subjects
from tests.packages.expgen import made
from tests.packages.expgen.describe_subjects import COLOURS, NOUNS, VERBS, where

ON = [made.on(word) for word in (*NOUNS, *COLOURS, *VERBS)]
ON_NEGATIVE = [made.on(word, negative=True) for word in NOUNS]
PAIRS = [made.on(*pair) for pair in zip(NOUNS[::2], NOUNS[1::2], strict=True)]


def after(word: str, before: str, steps: int = 1) -> made.Fires:
    return where(lambda said, at: said[at] == word and at >= steps and said[at - steps] == before)


CONTEXTS = {
    'fires on "is" after "sum"': after("is", "sum"),
    'fires on "sum" after "of"': after("sum", "of"),
    'fires on the token after "$"': where(lambda said, at: at > 0 and said[at - 1] == "$"),
    'fires on the token after "Ada"': where(lambda said, at: at > 0 and said[at - 1] == "Ada"),
    'fires on the token two places after "red"': where(lambda said, at: at > 1 and said[at - 2] == "red"),
    'fires on "the" two places after "Ada"': after("the", "Ada", 2),
    'fires on "boat" somewhere after "red"': where(lambda said, at: said[at] == "boat" and "red" in said[:at]),
}
KINDS = {
    "fires on numbers": where(lambda said, at: said[at].isdigit()),
    "fires on punctuation": where(lambda said, at: said[at] in (".", "?", ",", "!", "$")),
    "fires on capitalised words": where(lambda said, at: said[at][0].isupper()),
    "fires on the first token of a sentence": where(lambda said, at: at == 0 or said[at - 1] in (".", "?", "!")),
    "fires on the first token of the text": where(lambda said, at: at == 0),
}  # fmt: skip


def _described(workplace: Path, features: list[made.Fires], **asked: object) -> pl.DataFrame:
    made.store(workplace / "exemplars", subjects.SPLITS, features, k=20)
    return subjects.table(describe(subjects.options(workplace, **asked)))


def test_planted_words_are_named(workplace: Path):
    table = _described(workplace, [*ON, *ON_NEGATIVE, *PAIRS], candidates=1)
    planted = [((word,), "+") for word in (*NOUNS, *COLOURS, *VERBS)] + [((word,), "-") for word in NOUNS]
    planted += [(pair, "+") for pair in zip(NOUNS[::2], NOUNS[1::2], strict=True)]
    right = 0
    for neuron, (words, polarity) in enumerate(planted):
        said = table.row(by_predicate=(pl.col("neuron") == neuron) & (pl.col("polarity") == polarity), named=True)
        phrase = parse(said["description"])
        assert phrase is not None
        right += set(phrase.on) == set(words) and not phrase.of and not phrase.weakly
    assert right >= 0.95 * len(planted)


def test_contexts_and_kinds_are_told_from_words(workplace: Path):
    planted = CONTEXTS | KINDS
    table = _described(workplace, list(planted.values()), polarity="+", candidates=3)
    first = dict(table.filter(candidate=0).select("neuron", "description").iter_rows())
    assert [first[i] for i in range(len(planted))] == list(planted)
    for _, rows in table.group_by("neuron"):
        phrases = [parse(each) for each in rows["description"]]
        assert len({(bool(each.on), each.kind, each.place) for each in phrases if each}) == 3, "different hypotheses"
