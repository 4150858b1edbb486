"""The intervention score on planted neurons: what a neuron writes is known by hand, and so is the score."""

import json
from pathlib import Path
from types import SimpleNamespace

import actkit
import numpy as np
import polars as pl
import pytest
from expgen import tables
from expgen.exemplars import exemplars
from expgen.options import ExemplarsOptions, ScoreOptions
from expgen.score import score
from expgen.scoring import Score, Trial
from expgen.scoring.cases import Others
from expgen.scoring.intervention import Intervention
from expgen.scoring.material import Material
from expgen.store import Excerpt, Feature, Text
from runkit.errors import UsageError
from runkit.options import parse
from specimens import planted

from tests.packages.expgen import made, scored

PLUS, TOTAL = planted.PLANTS[0], planted.PLANTS[2]  # promotes plus, sum, add; negative, promotes total, result
CONTROLS = (" apples", " answer", " so", " equals", " 5")
PROMPTS = ("Question: Ann has 2 apples", "How many apples are there?\nLet's", "2 apples and three more make 2 + 3")


@pytest.fixture(scope="module")
def model() -> actkit.Model:
    return actkit.load(planted.planted_model(), tokenizer=planted.tokenizer(), device="cpu")


def _feature(plant: planted.Plant) -> Feature:
    return Feature("planted", "mlp_post", plant.layer, plant.neuron, "+" if plant.sign > 0 else "-")


def _said(words: tuple[str, ...]) -> str:
    return "promotes " + ", ".join(f'"{word.strip()}"' for word in words)


def _scorer(model: actkit.Model, controls: tuple[str, ...] = CONTROLS) -> Intervention:
    rows = [{**_feature(plant)._asdict(), "peak": plant.activation} for plant in planted.PLANTS]
    other = _feature(planted.PLANTS[4])
    told = [{**other._asdict(), "candidate": 0, "explainer": "x", "description": _said(controls), "status": "ok",
             "reason": None, "shown": []}] if controls else []  # fmt: skip
    others = Others.of(pl.DataFrame(told, schema=tables.columns(tables.Descriptions)), seed=0)
    return Intervention(model, SimpleNamespace(features=pl.DataFrame(rows)), others, seed=0, draws=50)


def _material(model: actkit.Model, plant: planted.Plant, prompts=PROMPTS) -> Material:
    """The prompts as random sequences, with the plant's activations."""
    excerpts = []
    for number, prompt in enumerate(prompts):
        ids = np.array(model.tokenize([prompt])[0])
        words = [model.tokenizer.decode([i]) for i in ids]
        fires = np.array([plant.size * (word in plant.fires_on) for word in words])
        text = Text(prompt, ids, np.zeros((len(ids), 2), dtype=int), np.ones(len(ids), dtype=bool))
        excerpts.append(Excerpt("test", -1, number, text, fires, -1))
    return Material("test", tuple(excerpts), plant.size)


def _scored(model: actkit.Model, plant: planted.Plant, description: str, **more) -> Score:
    scorer = _scorer(model, **more)
    trial = Trial(_feature(plant), description)
    return scorer.concluded(trial, scorer.evidence([(trial, _material(model, plant))])[0])


def _by_hand(plant: planted.Plant, meant: tuple[str, ...]) -> float:
    """A plant adds its size times 1, 0.9, ... to the logits of what it promotes, and nothing to all others."""
    words = list(dict.fromkeys((*meant, *CONTROLS)))
    effect = np.array([
        plant.size * (1 - 0.1 * plant.promotes.index(word)) if word in plant.promotes else 0 for word in words
    ])  # fmt: skip
    m, n = len(meant), len(words)
    return (effect[:m].mean() - effect.mean()) / np.sqrt(effect.var() / m * (n - m) / (n - 1))


@pytest.mark.parametrize("plant", [PLUS, TOTAL], ids=["fires high", "fires low"])
def test_what_a_planted_neuron_promotes_has_the_score_known_by_hand(model: actkit.Model, plant: planted.Plant):
    found = _scored(model, plant, _said(plant.promotes))
    expected = _by_hand(plant, plant.promotes)
    assert expected > 2
    assert found.value == pytest.approx(expected, abs=0.01)
    assert (found.n, found.status) == (3, "ok")
    assert found.low == pytest.approx(found.value, abs=0.01), "it does the same after every prompt"

    one = _scored(model, plant, f"{_said(plant.promotes[:1])} and this and that")
    assert one.value == pytest.approx(_by_hand(plant, plant.promotes[:1]), abs=0.01)


def test_words_it_does_not_promote_score_below_zero(model: actkit.Model):
    mixed = ('promotes "plus" and "answer"', (" plus", " answer"))
    assert _scored(model, PLUS, mixed[0]).value == pytest.approx(_by_hand(PLUS, mixed[1]), abs=0.01)
    strange = _scored(model, PLUS, 'promotes "Ann" and "plus"', controls=(" sum", " add", " answer"))
    assert strange.value < 0, "controls that it promotes are more than half of what it does"


def test_what_it_promotes_counts_where_the_form_tells_it(model: actkit.Model):
    """`fires on` says where it fires, `promotes` what it writes."""
    both = _scored(model, PLUS, f'fires on "+"; {_said(PLUS.promotes)}')
    assert both.value == pytest.approx(_by_hand(PLUS, PLUS.promotes), abs=0.01)


@pytest.mark.parametrize(
    ("description", "more", "says"),
    [
        ("", {}, "no word"),
        ("elephants", {}, "no word"),
        ("fires on numbers", {}, "no word"),
        (_said(PLUS.promotes), {"controls": ()}, "no words to compare"),
    ],
)
def test_what_cannot_be_measured_is_missing(model: actkit.Model, description: str, more: dict, says: str):
    found = _scored(model, PLUS, description, **more)
    assert (found.value, found.status) == (None, "missing")
    assert says in found.reason


def test_a_write_that_moves_no_word_apart_has_no_score(model: actkit.Model):
    assert _scored(model, PLUS, 'promotes "Ann"', controls=(" answer", " so")).status == "constant"


def test_prompts_end_where_the_neuron_is_at_rest(model: actkit.Model):
    """At a token where it fires anyway there would be nothing to write."""
    scorer, trial = _scorer(model), Trial(_feature(PLUS), _said(PLUS.promotes))
    asked = []
    scorer._effects = lambda feature, prompts: asked.extend(prompts) or np.zeros((len(prompts), 100))
    scorer.evidence([(trial, _material(model, PLUS, ("2 + 3", "2 +", " +")))])
    assert [model.tokenizer.decode(list(prompt)) for prompt in asked] == ["2 + 3", "2"]


def test_the_stage_writes_into_the_model_it_is_given(workplace: Path):
    folder = planted.save(workplace / "planted")
    words = ["2", "apples", "and", "three", "more", "make", "+", "3", "=", "5", "is", "The", "answer"]
    random = np.random.default_rng(0)
    texts = [" ".join(["How", *random.choice(words, 11)]) for _ in range(60)]
    (workplace / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    given = {"model": str(folder), "data": "texts.jsonl", "k": 5, "out": workplace / "exemplars", "device": "cpu"}
    run = exemplars(parse(ExemplarsOptions, given))
    rows = [{**_feature(plant)._asdict(), "candidate": 0, "explainer": "x", "description": _said(plant.promotes),
             "status": "ok", "reason": None, "shown": []} for plant in planted.PLANTS]  # fmt: skip
    pl.DataFrame(rows, schema=tables.columns(tables.Descriptions)).write_parquet(workplace / "d.parquet")
    asked = {"descriptions": "d.parquet", "exemplars": str(run), "scorers": "intervention", "device": "cpu"}
    found = scored.table(score(parse(ScoreOptions, {**asked, "model": str(folder), "out": workplace / "s"})), "best")
    assert len(found) == len(planted.PLANTS)
    assert found["value"].min() > 1
    assert found["null_other"].max() < 0

    other = planted.save(workplace / "other", [planted.Plant(0, 0, (" +",), (" plus",))])
    with pytest.raises(UsageError, match=r"(?s)other.*planted"):
        score(parse(ScoreOptions, {**asked, "model": str(other), "out": workplace / "t"}))
    table = pl.read_parquet(workplace / "d.parquet").with_columns(source=pl.lit("resid_post"))
    wrong = scored.run(workplace / "resid", [made.on("x")] * 10, source="resid_post", model="planted", layer=0)
    table.filter(layer=0).write_parquet(workplace / "r.parquet")
    with pytest.raises(UsageError, match="resid_post cannot be written"):
        score(parse(ScoreOptions, {**asked, "descriptions": "r.parquet", "exemplars": str(wrong.folder),
                                   "model": str(folder), "out": workplace / "u"}))  # fmt: skip
