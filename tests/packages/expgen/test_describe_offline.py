"""The offline explainer says of planted features what was planted."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from actkit.harvest.identity import identity
from expgen import describe as stage
from expgen.describe import describe
from expgen.explaining.phrases import parse
from expgen.explaining.promoted import Promoted
from expgen.options import DescribeOptions
from expgen.store import Feature
from expgen.subject import Subject
from runkit.errors import UsageError
from specimens import planted

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


def test_a_feature_that_never_fires_is_silent(workplace: Path):
    """Zeros, negative numbers only, and a ReLU that is dead in the train split but not elsewhere."""
    texts = {**subjects.SPLITS, "valid": [*subjects.SPLITS["valid"], "a zebra"]}
    features = [lambda words: [0.0] * len(words), lambda words: [-1.0 - at for at, _ in enumerate(words)],
                lambda words: [float("zebra" in word) for word in words]]  # fmt: skip
    made.store(workplace / "exemplars", texts, features)
    found = subjects.table(describe(subjects.options(workplace)))
    status = {(row["neuron"], row["polarity"]): row["status"] for row in found.iter_rows(named=True)}
    assert {key for key, told in status.items() if told == "silent"} == {
        (0, "+"),
        (0, "-"),
        (1, "+"),
        (2, "+"),
        (2, "-"),
    }
    silent = found.filter(status="silent")
    assert silent["description"].null_count() == len(silent) == 5
    assert set(silent["reason"]) == {f"no sequence of the train split takes it {side} 0" for side in ("above", "below")}


def test_it_does_not_matter_in_which_pieces(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    features = [*ON[:5], lambda words: [-1.0] * len(words)]
    made.store(workplace / "exemplars", subjects.SPLITS, features)
    whole = subjects.table(describe(subjects.options(workplace)))
    monkeypatch.setattr(stage, "_PIECE", 2)
    pieces = describe(subjects.options(workplace, out=workplace / "pieces" / "run"))
    some = describe(subjects.options(workplace, neurons=(3, 1), out=workplace / "some" / "run"))
    assert subjects.table(pieces).equals(whole)
    assert subjects.table(some).equals(whole.filter(pl.col("neuron").is_in([1, 3])))


def test_what_cannot_be_described_is_named(workplace: Path, capsys: pytest.CaptureFixture[str]):
    made.store(workplace / "exemplars", subjects.SPLITS, ON[:2])
    folder = describe(subjects.options(workplace))
    assert describe(subjects.options(workplace, dry_run=True)) is None
    assert "tokens: 4 of 4 features fire and are to be described; nobody is asked" in capsys.readouterr().out
    for number, (given, says) in enumerate([
        ({"exemplars": str(folder)}, r"is a run of expgen\.describe: name the folder of a run of expgen exemplars"),
        ({"exemplars": str(workplace / "exemplar")}, "did you mean 'exemplars'"),
        ({"layers": (0, 4)}, r"--layers 4: no such features: .* has mlp_post\.0"),
        ({"neurons": (1, 2)}, "--neurons 2: no such features"),
        ({"sources": ("heads",)}, "--sources heads: no such features"),
        ({"model": str(workplace / "nowhere")}, "nowhere"),
    ]):  # fmt: skip
        with pytest.raises(UsageError, match=says):
            describe(subjects.options(workplace, **{"out": workplace / str(number) / "run", **given}))


def test_promoted_tokens_are_those_that_were_planted(workplace: Path):
    """Neurons of a model set by hand; those of negative sign promote by firing low."""
    planted.save(workplace / "model")
    model = Subject.load(DescribeOptions(model=str(workplace / "model"), device="cpu")).model
    features = {Feature("m", "mlp_post", plant.layer, plant.neuron, "+" if plant.sign > 0 else "-"): plant
                for plant in planted.PLANTS}  # fmt: skip
    found = Promoted(model).tokens([*features, Feature("m", "heads", 0, 0, "+"), Feature("m", "mlp_post", 0, 0, "+")])
    for feature, plant in features.items():
        assert found[feature]
        assert set(found[feature]) <= {word.strip() for word in plant.promotes}
    assert found[Feature("m", "mlp_post", 0, 0, "+")] == (), "a dead neuron promotes nothing"
    assert len(found) == len(features) + 1, "what heads write is not known"
    theirs = {**identity(model), "weights": "others"}
    exemplars: Any = SimpleNamespace(about={"identity": theirs, "model": "theirs", "revision": None})
    with pytest.raises(UsageError, match=r"is not the model described, theirs:\s+weights"):
        Promoted.open(DescribeOptions(model=str(workplace / "model"), device="cpu"), exemplars)
