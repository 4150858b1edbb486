"""From a model whose neurons are known to described and scored neurons: the words are what was planted."""

import json

import numpy as np
import polars as pl
import pytest
from expgen.describe import describe
from expgen.exemplars import exemplars
from expgen.options import DescribeOptions, ExemplarsOptions, ScoreOptions
from expgen.score import score
from specimens import planted

SPOKEN = (
    "red blue green cat dog horse runs sleeps sings seven eight nine river stone cloud lamp table spoon "
    "quick slow warm cold north south bread salt drum flute glass wool"
)
WORDS = SPOKEN.split()
PLANTS = [
    planted.Plant(
        layer=number % 4,
        neuron=number // 4 * 3,
        fires_on=tuple(f" {word}" for word in WORDS[number : number + 1 + number % 2]),
        promotes=(f" {WORDS[-number - 1]}",),
        sign=1 if number % 3 else -1,
        size=1.0 + number / 10,
    )
    for number in range(0, 20)
]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Tables `best` and `scores`."""
    folder = tmp_path_factory.mktemp("planted")
    model = planted.save(folder / "model", PLANTS)
    rng = np.random.default_rng(8)
    texts = [" ".join(rng.choice(WORDS, 12)) for _ in range(240)]
    data = folder / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.chdir(folder)
        found = exemplars(ExemplarsOptions(model=str(model), data=(str(data),), k=10, random=20, device="cpu"))
        told = describe(DescribeOptions(exemplars=str(found)))
        run = score(ScoreOptions(exemplars=str(found), descriptions=str(told)))
    assert run is not None
    return tuple(pl.read_parquet(run / "tables" / f"{name}.parquet") for name in ("best", "scores"))


def _plants() -> dict[tuple[int, int, str], planted.Plant]:
    return {(plant.layer, plant.neuron, "+" if plant.sign > 0 else "-"): plant for plant in PLANTS}


def test_every_plant_and_nothing_else_is_described_by_its_words(scored: tuple[pl.DataFrame, pl.DataFrame]):
    best, _ = scored
    said = {tuple(row[:3]): row[3] for row in best.select("layer", "neuron", "polarity", "description").rows()}
    plants = _plants()
    assert set(said) == set(plants)  # the other neurons are dead: silent, not described
    named = [all(f'"{word.strip()}"' in said[key] for word in plant.fires_on) for key, plant in plants.items()]
    assert np.mean(named) >= 0.95


def test_the_words_predict_the_activations_and_other_neurons_words_do_not(scored: tuple[pl.DataFrame, pl.DataFrame]):
    best, scores = scored
    assert best["value"].min() >= 0.95
    assert best["low"].min() >= 0.95
    others = scores.filter(kind="other", split="test", status="ok")["value"]
    assert abs(others.mean()) < 0.1
    assert others.abs().median() < 0.15
    assert set(scores.filter(status="silent")["value"].to_list()) <= {None}
