"""The stage `emerge`: what it measures, against plain Hugging Face and NumPy, and series whose onsets are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from grokked_reasoning import modeling, tables
from grokked_reasoning.emerge import emerge
from grokked_reasoning.emerging import onset
from grokked_reasoning.options import EmergeOptions
from runkit.errors import DataError, UsageError
from runkit.tables import read
from transformers import AutoModelForCausalLM, GPT2LMHeadModel, PreTrainedModel

from tests.packages.grokked_reasoning import small_world, training_series

STEPS = (10, 20, 30, 40)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_world.write(tmp_path_factory.mktemp("emerge") / "world")


@pytest.fixture(scope="module")
def tokens(world: Path) -> int:
    return len(json.loads((world / "vocab.json").read_text()))


def options(place: Path, data: Path | str, **given: object) -> EmergeOptions:
    told = {"checkpoints": str(place), "data": str(data), "device": "cpu", **given}
    return EmergeOptions.model_validate(told)


def rows_of(world: Path, kind: str) -> list[list[int]]:
    """Token ids of the prompts of a type ("": of all), after which the answer comes, which is one token here."""
    ids = {name: i for i, name in enumerate(json.loads((world / "vocab.json").read_text()))}
    told = [row["input_text"] for row in json.loads((world / "test.json").read_text()) if kind in ("", row["type"])]
    return [[ids[f"<{each}"] for each in text.split("<")[1:]] for text in told]


def course_of(folder: Path, step: int) -> pl.DataFrame:
    course = read(folder / "tables" / "course.parquet", tables.Course)
    return course.filter(step=step).sort("layer", "neuron", "polarity")


def test_a_neuron_emerges_just_where_it_was_put_in_place(workplace, world, tokens):
    """Everything is the finished model's from the start, but for some neurons of the last layer."""
    finished = training_series.facts_model(0, tokens)
    mlp = finished.transformer.h[1].mlp
    mlp.c_fc.weight.data[:, 2] = 0  # GELU of 0 is 0: never anything
    finished.save_pretrained(workplace / "done")
    (workplace / "done" / "vocab.json").write_bytes((world / "vocab.json").read_bytes())
    right = {0: {20, 30, 40}, 1: set(), 3: {10, 30, 40}, 7: {40}}
    for step in STEPS:
        model = modeling.load(workplace / "done")
        there = model.transformer.h[1].mlp
        for neuron, steps in right.items():
            if step not in steps:
                there.c_fc.weight.data[:, neuron] *= -1  # fires where it should not
                there.c_fc.bias.data[neuron] *= -1
        there.c_proj.weight.data[4] *= 1 if step >= 30 else -1
        there.c_proj.weight.data[5] *= -1
        there.c_proj.weight.data[6] *= 1 if step >= 20 else 0
        training_series.saved(model, workplace / "series", step, world / "vocab.json")
    folder = emerge(options(workplace / "series", world, model=str(workplace / "done")))
    table = read(folder / "tables" / "emergence.parquet", tables.Emergence)
    assert set(table["model"]) == {"done"}
    assert len(table) == 2 * 2 * 64
    last = {
        (n, p): row
        for n, p, *row in table.filter(layer=1)
        .select("neuron", "polarity", "status", "fires_from", "writes_from")
        .rows()
    }
    for polarity in "+-":
        assert last.pop((0, polarity)) == ["found", 20, 10]
        assert last.pop((1, polarity)) == ["never", None, 10]
        assert last.pop((2, polarity)) == ["silent", None, 10]
        assert last.pop((3, polarity)) == ["found", 30, 10]
        assert last.pop((4, polarity)) == ["found", 10, 30]
        assert last.pop((5, polarity)) == ["found", 10, None]
        assert last.pop((6, polarity)) == ["found", 10, 20]
        assert last.pop((7, polarity)) == ["found", 40, 10]
    y = training_series.activations(workplace / "done", rows_of(world, ""))[1]
    still = {(n, p) for p, sign in (("+", 1), ("-", -1)) for n in range(64) if (sign * y[:, n]).max() <= 0}
    for key, row in last.items():
        assert row == (["silent", None, 10] if key in still else ["found", 10, 10])
    below = table.filter(layer=0, status="found")
    assert len(below) > 120
    assert below.select("known_from", "fires_from", "writes_from").unique().rows() == [(10, 10, 10)]
    at = course_of(folder, 10).filter(layer=1)
    assert at.filter(neuron=6)["writes"].to_list() == [None, None]  # a zero vector has no direction
    assert at.filter(neuron=5)["writes"].to_list() == pytest.approx([-1, -1])
    assert at.filter(neuron=2)["alike"].to_list() == [None, None]


def test_courses_are_what_numpy_makes_of_plain_hooks(workplace, world, tokens):
    place = workplace / "series"
    for step, seed in ((100, 1), (200, 2)):
        training_series.saved(training_series.facts_model(seed, tokens), place, step, world / "vocab.json")
    folder = emerge(options(place, world, split="test_inferred_iid", batch_size=7))
    rows = rows_of(world, "test_inferred_iid")
    here, there = (training_series.activations(place / f"checkpoint-{step}", rows) for step in (100, 200))
    weights = [AutoModelForCausalLM.from_pretrained(place / f"checkpoint-{step}").transformer.h for step in (100, 200)]
    course, table = course_of(folder, 100), read(folder / "tables" / "emergence.parquet", tables.Emergence)
    for layer, (x, y) in enumerate(zip(here, there, strict=True)):
        for polarity, sign in (("+", 1), ("-", -1)):
            found = course.filter(layer=layer, polarity=polarity)
            expected = training_series.correlations(x, y, sign)
            assert np.allclose(found["alike"].to_numpy(), np.diag(expected), atol=1e-5, equal_nan=True)
            strange = found["strange_alike"].to_numpy()
            off = np.nan_to_num(np.abs(strange[:, None] - expected), nan=9)[np.isfinite(strange)]
            partners = off.argmin(axis=1)
            assert (off.min(axis=1) < 1e-5).all()
            assert len(set(partners)) == len(partners) > 40  # each is one other's stranger,
            assert (partners != np.flatnonzero(np.isfinite(strange))).all()  # nobody its own
            active = table.filter(layer=layer, polarity=polarity)["active"].to_numpy()
            assert np.allclose(active, (sign * y > 0).mean(axis=0), atol=2 / len(y))
        a, b = (each[layer].mlp.c_proj.weight.detach().double().numpy() for each in weights)
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert np.allclose(course.filter(layer=layer, polarity="-")["writes"], cosine, atol=1e-6)
    assert course_of(folder, 200)["alike"].min() == pytest.approx(1)
    assert set(table["model"]) == {"checkpoint-200"}


@pytest.fixture
def texts(workplace: Path) -> Path:
    told = ["a b c", "d a", "f e d c b a a", "b", "c d e f a b"]
    (workplace / "texts.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in told))
    return workplace / "texts.jsonl"


def saved_texts(place: Path, **models: PreTrainedModel) -> Path:
    for name, model in models.items():
        training_series.saved(model, place, int(name.removeprefix("step_")))
    training_series.tokenizer(training_series.WORDS).save_pretrained(place / f"checkpoint-{name.removeprefix('step_')}")
    return place


def test_texts_are_watched_without_what_is_no_text(workplace, texts, capsys):
    """Begin-of-text and padding do not count; a checkpoint without a tokenizer has the finished model's."""
    place = saved_texts(
        workplace / "series", step_5=training_series.text_model(1), step_9=training_series.text_model(2)
    )
    folder = emerge(options(place, texts, seq_len=5, batch_size=2))
    assert "5 of 24 tokens stand after the first 5 of their row" in capsys.readouterr().err
    words = [["<bos>", *json.loads(line)["text"].split()][:5] for line in texts.read_text().splitlines()]
    rows = [[training_series.WORDS.index(word) for word in row] for row in words]
    here, there = (training_series.activations(place / f"checkpoint-{step}", rows, skip=1) for step in (5, 9))
    for layer, (x, y) in enumerate(zip(here, there, strict=True)):
        for polarity, sign in (("+", 1), ("-", -1)):
            found = course_of(folder, 5).filter(layer=layer, polarity=polarity)["alike"].to_numpy()
            expected = np.diag(training_series.correlations(x, y, sign))
            assert np.allclose(found, expected, atol=1e-5, equal_nan=True)


def test_a_looped_model_has_the_layers_that_it_runs(workplace, world, tokens):
    for step, seed in ((1, 1), (2, 2)):
        model = training_series.facts_model(seed, tokens, loops=2)
        training_series.saved(model, workplace / "series", step, world / "vocab.json")
    course = course_of(emerge(options(workplace / "series", world, limit=20)), 1)
    layers = {layer: course.filter(layer=layer) for layer in range(4)}
    assert len(course) == sum(map(len, layers.values())) == 4 * 64 * 2
    assert layers[0]["writes"].equals(layers[2]["writes"])  # the same weights,
    assert not layers[0]["alike"].equals(layers[2]["alike"])  # other activations


def test_where_nothing_emerges_it_says_so(workplace, world, tokens, capsys):
    """Checkpoints of another training, and a finished model whose first layer is dead."""
    finished = training_series.facts_model(9, tokens)
    finished.transformer.h[0].mlp.c_fc.weight.data.zero_()
    training_series.saved(finished, workplace / "other", 1, world / "vocab.json")
    for step in (0, 8):
        training_series.saved(
            training_series.facts_model(step, tokens), workplace / "series", step, world / "vocab.json"
        )
    folder = emerge(options(workplace / "series", world, model=str(workplace / "other" / "checkpoint-1"), limit=40))
    table = read(folder / "tables" / "emergence.parquet", tables.Emergence)
    assert table["fires_from"].null_count() == len(table)
    assert set(table.filter(layer=0)["status"]) == {"silent"}
    assert set(table.filter(layer=0)["active"]) == {0}
    assert course_of(folder, 0).filter(layer=0)["alike"].null_count() == 128
    assert "is --model what this training ended in?" in capsys.readouterr().err


def test_interrupted_it_goes_on_with_the_checkpoint_that_is_missing(workplace, world, tokens, monkeypatch):
    for step in STEPS:
        training_series.saved(
            training_series.facts_model(step, tokens), workplace / "series", step, world / "vocab.json"
        )
    asked = {"limit": 30, "every": 2}
    whole = emerge(options(workplace / "series", world, out=workplace / "whole", **asked))
    load, loaded = modeling.load, []

    def once(folder: Path, **rest: object) -> PreTrainedModel:
        loaded.append(int(folder.name.rpartition("-")[2]))
        if loaded == [40, 10, 30]:
            raise KeyboardInterrupt
        return load(folder, **rest)

    monkeypatch.setattr(modeling, "load", once)
    with pytest.raises(KeyboardInterrupt):
        emerge(options(workplace / "series", world, out=workplace / "killed", **asked))
    folder = emerge(options(workplace / "series", world, out=workplace / "killed", **asked))
    assert loaded == [40, 10, 30, 40, 30, 40]  # the finished model, then what is missing; 20 is left out by --every
    for name in ("tables/course.parquet", "tables/emergence.parquet", "figures/emergence.png"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_onsets_last():
    def course(step: int, alike: list[float | None]) -> pl.DataFrame:
        return pl.DataFrame({"step": step, "alike": alike}, {"step": pl.Int64, "alike": pl.Float64})

    courses = [course(0, [0.9, 0.95, None, 0.1]), course(7, [0.9, 0.5, 0.9, 0.2]), course(9, [1.0, 0.95, 0.9, None])]
    assert onset.lasting(courses, pl.col("alike") >= 0.9).tolist() == [0, 9, 7, onset.NEVER]


def test_other_models_and_tokenizers_are_told(workplace, world, texts, tokens):
    place = saved_texts(
        workplace / "series", step_5=training_series.text_model(1), step_9=training_series.text_model(2)
    )
    words = [*training_series.WORDS[:2], *reversed(training_series.WORDS[2:])]
    training_series.tokenizer(words).save_pretrained(place / "checkpoint-5")
    with pytest.raises(
        UsageError, match=r"checkpoint-5: its tokenizer reads row 0 .* \(\[1, 7, 6, 5\], not \[1, 2, 3, 4\]"
    ):
        emerge(options(place, texts))
    with pytest.raises(UsageError, match="--seq-len 17: the model reads 16 tokens at most"):
        emerge(options(place, texts, seq_len=17))
    with pytest.raises(UsageError, match="--loops 2: only models of facts have loops"):
        emerge(options(place, texts, loops=2))
    saved_texts(place, step_9=training_series.text_model(2, neurons=20))
    shapes = r"checkpoint-5: model\.layers\.0\.mlp\.down_proj\.weight is \[8, 12\], in checkpoint-9 \[8, 20\]"
    with pytest.raises(UsageError, match=shapes):
        emerge(options(place, texts))
    other = saved_texts(workplace / "other", step_1=training_series.text_model(2)) / "checkpoint-1"
    saved_texts(place, step_5=training_series.text_model(1, neurons=20))
    with pytest.raises(UsageError, match=r"--model is no later state of .*checkpoint-5"):
        emerge(options(place, texts, model=str(other)))
    with pytest.raises(UsageError, match=r"one checkpoint only, checkpoint-1: a course takes at least two"):
        emerge(options(workplace / "other", texts))


def test_bad_data_are_told(workplace, world, texts, tokens):
    place = workplace / "series"
    for step in (1, 2):
        training_series.saved(training_series.facts_model(step, tokens), place, step, world / "vocab.json")
    with pytest.raises(
        UsageError, match=r"--split test_inferred_idd: no such type .* did you mean 'test_inferred_iid'"
    ):
        emerge(options(place, world, split="test_inferred_idd"))
    with pytest.raises(UsageError, match="gpt2: no such folder"):
        emerge(options(place, world, model="gpt2"))
    (workplace / "empty.jsonl").write_text('{"text": "a"}\n{"text": " "}\n')
    with pytest.raises(DataError, match=r"row 2, field 'text': .*is empty"):
        emerge(options(place, workplace / "empty.jsonl"))
    for folder in place.iterdir():
        (folder / "vocab.json").unlink()
    with pytest.raises(UsageError, match="checkpoint-2 has no tokenizer, so it cannot read texts"):
        emerge(options(place, texts))
    torch.save({}, place / "checkpoint-1" / "pytorch_model.bin")
    (place / "checkpoint-1" / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"checkpoint-1 holds no model\.safetensors, and no other weights are read"):
        emerge(options(place, world))


def test_batches_that_do_not_fit_are_halved_with_the_same_result(workplace, world, tokens, monkeypatch):
    for step in (1, 2):
        training_series.saved(
            training_series.facts_model(step, tokens), workplace / "series", step, world / "vocab.json"
        )
    asked = {"limit": 40, "batch_size": 16}
    whole = course_of(emerge(options(workplace / "series", world, out=workplace / "whole", **asked)), 1)
    forward = GPT2LMHeadModel.forward

    def small(model: GPT2LMHeadModel, input_ids: torch.Tensor, **rest: Any) -> Any:
        if len(input_ids) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(model, input_ids, **rest)

    monkeypatch.setattr(GPT2LMHeadModel, "forward", small)
    folder = emerge(options(workplace / "series", world, out=workplace / "small", **asked))
    assert "going on with 4" in (folder / "journal.jsonl").read_text()
    for name in ("alike", "strange_alike"):
        found = course_of(folder, 1)[name].to_numpy()
        assert np.allclose(found, whole[name].to_numpy(), atol=1e-5, equal_nan=True)
