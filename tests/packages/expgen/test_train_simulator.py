"""A language model is taught to simulate; killed, it ends with the same bytes; what cannot be taught is said."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import actkit
import numpy as np
import polars as pl
import pytest
import torch
from expgen import tables
from expgen.options import ScoreOptions, TrainSimulatorOptions
from expgen.simulating import Asked, training
from expgen.simulating.lessons import divided, levels, pupils
from expgen.simulating.opening import open_simulator
from expgen.store import Excerpt, Exemplars, Feature, Text
from expgen.train_simulator import train_simulator
from runkit.errors import DataError, UsageError
from runkit.learning import batches
from specimens import families
from specimens.families import Shape

from tests.packages.expgen import made

WORDS = ("Tom", "has")
RUN = "taught"


@pytest.fixture
def place(workplace: Path) -> Path:
    """Six neurons for each of two words, described; and a small model to be taught."""
    dice = random.Random(0)
    texts = {split: [" ".join(dice.choices(WORDS, k=5)) for _ in range(12)] for split in tables.SPLITS}
    named = [word for word in WORDS for _ in range(6)]
    made.store(workplace / "exemplars", texts, [made.on(word) for word in named], k=8)
    write(workplace, named)
    families.save("llama", workplace / "model", Shape(layers=2, d_model=48, d_mlp=64))
    return workplace


def write(place: Path, named: list[str], status: str = "ok") -> None:
    rows = [
        {**Feature("made", "mlp_post", 0, number, "+")._asdict(), "candidate": 0, "explainer": "user",
         "description": f'fires on "{word}"' if status == "ok" else None, "status": status, "reason": None, "shown": []}
        for number, word in enumerate(named)
    ]  # fmt: skip
    pl.DataFrame(rows, schema=tables.columns(tables.Descriptions)).write_parquet(place / "described.parquet")


def options(place: Path, **more) -> TrainSimulatorOptions:
    given = {"model": str(place / "model"), "rank": 0, "learning_rate": 1e-2, "steps": 120, "save_every": 40, "top": 6,
             "random": 4, "batch_size": 16, "out": place / RUN} | more  # fmt: skip
    return TrainSimulatorOptions(descriptions="described.parquet", exemplars="exemplars", **given)


def test_held_out_features_are_predicted_better_than_before(place: Path):
    folder = train_simulator(options(place))
    simulated = pl.read_parquet(folder / "tables/simulated.parquet")
    assert len(simulated) == 2
    assert (simulated["after"] - simulated["before"]).mean() > 0.5
    curve = pl.read_parquet(folder / "tables/curve.parquet")
    assert curve["step"].to_list() == list(range(1, 121))
    assert (folder / "figures/training.png").is_file()
    assert '"gain_low"' in (folder / "journal.jsonl").read_text()
    noted: list[str] = []
    simulator = open_simulator(ScoreOptions(simulator=RUN), cast("Any", SimpleNamespace(log=noted.append)))
    assert "trained" in noted[0]
    (found,) = simulator.predict([Asked('fires on "Tom"', Exemplars.open("exemplars").sequence("valid", 0))])
    assert found.values is not None
    assert np.isfinite(found.values).all()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("rank", [0, 4])
def test_killed_and_resumed_it_ends_with_the_same_bytes(place: Path, monkeypatch: pytest.MonkeyPatch, rank: int):
    small = {"steps": 12, "save_every": 4, "rank": rank}
    calm = train_simulator(options(place, out=place / "calm", **small))
    advance, count = training.Trainer.advance, iter(range(100))

    def killed(self):
        if next(count) in (2, 9):
            raise Killed
        return advance(self)

    monkeypatch.setattr(training.Trainer, "advance", killed)
    for _ in range(2):
        with pytest.raises(Killed):
            train_simulator(options(place, **small))
    again = train_simulator(options(place, **small))
    for name in (
        "simulator/model.safetensors",
        "simulator/simulator.json",
        "tables/curve.parquet",
        "tables/simulated.parquet",
    ):
        assert (again / name).read_bytes() == (calm / name).read_bytes(), name


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])  # Conv1D, tied; soft caps, tied
def test_what_is_saved_is_what_was_taught(place: Path, family: str):
    families.save(family, place / "model", Shape(layers=2))
    folder = train_simulator(options(place, steps=3, rank=2, top=2, random=2))
    base, taught = (actkit.load(each, device="cpu").hf for each in (place / "model", folder / "simulator"))
    before, after = base.state_dict(), taught.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(before[name].ndim == 2 for name in changed)
    assert torch.equal(base.get_input_embeddings().weight, taught.get_input_embeddings().weight)


def test_activations_become_eleven_levels():
    spans = np.zeros((7, 2), int)
    valid = np.array([True] * 6 + [False])
    values = np.array([-3.0, 0.0, 0.24, 0.26, 4.9, 7.0, 1.0])
    excerpt = Excerpt("train", 0, 0, Text("", np.zeros(7, int), spans, valid), values, 0)
    assert levels(excerpt, 5.0).tolist() == [0, 0, 0, 1, 10, 10, -1]


def test_whole_neurons_are_held_out(place: Path):
    found = pupils(options(place), Exemplars.open("exemplars"))
    both = [each._replace(feature=each.feature._replace(polarity=polarity)) for each in found for polarity in "+-"]
    taught, held = divided(both, 0.25, 0)
    assert (len(taught), len(held)) == (18, 6)
    assert not {each.feature.neuron for each in taught} & {each.feature.neuron for each in held}
    assert divided(both, 0.25, 0) == (taught, held)


def test_an_epoch_has_every_lesson_once():
    lengths = random.Random(0).choices(range(5, 90), k=203)
    found = batches(lengths, 4, (0, 1))
    assert sorted(number for batch in found for number in batch) == list(range(203))
    assert len(found) == -(-203 // 4)
    assert found == batches(lengths, 4, (0, 1)) != batches(lengths, 4, (0, 2))


def test_without_descriptions_or_with_one_neuron_it_says_so(place: Path):
    write(place, list(WORDS), "error")
    with pytest.raises(DataError, match="none of its 2 rows is a description"):
        train_simulator(options(place, resume=False))
    write(place, ["Tom"])
    with pytest.raises(DataError, match="only one neuron has descriptions"):
        train_simulator(options(place, resume=False))


def test_a_model_that_cannot_learn_it_is_named(place: Path):
    families.save("llama", place / "model", Shape(layers=2, context=48))
    with pytest.raises(DataError, match=r"sequence \d+ of train \(5 tokens of the subject\).* context is 48"):
        train_simulator(options(place, resume=False))
    families.save("llama", place / "bare", Shape(layers=2), tokenizer=False)
    with pytest.raises(UsageError, match="has no tokenizer"):
        train_simulator(options(place, model=str(place / "bare"), resume=False))
    with pytest.raises(UsageError, match="float16"):
        train_simulator(options(place, dtype="float16", resume=False))
