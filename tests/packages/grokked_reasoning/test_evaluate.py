"""The stage `evaluate` against the original's way: decode greedily, cut at the first </a>, compare texts (spec 4)."""

import json
from pathlib import Path

import polars as pl
import pytest
import torch
from grokked_reasoning import checkpoints, dataset, modeling, tables
from grokked_reasoning.evaluate import evaluate
from grokked_reasoning.options import EvaluateOptions
from runkit.errors import UsageError
from runkit.tables import read
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests.packages.grokked_reasoning import circuit_subjects, small_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_world.write(tmp_path_factory.mktemp("evaluate") / "world", entities=10, relations=3)


@pytest.fixture(scope="module")
def run(world: Path) -> Path:
    """Two checkpoints that learned </a>, half-way and later."""
    place = world.parent / "checkpoints"
    for steps in (40, 150):
        circuit_subjects.saved(circuit_subjects.trained(world, steps=steps), place, steps, world)
    return place


def options(place: Path, world: Path, **given: object) -> EvaluateOptions:
    return EvaluateOptions.model_validate({"checkpoints": str(place), "data": str(world), "device": "cpu", **given})


def originals_way(model: PreTrainedModel, world: Path) -> list[dict[str, object]]:
    """One row at a time through Hugging Face's generate, to ten tokens or the model's context."""
    strings = json.loads((world / "vocab.json").read_text())
    ids = {each: i for i, each in enumerate(strings)}
    found = []
    for row in json.loads((world / "test.json").read_text()):
        prompt = torch.tensor([[ids[each] for each in row["input_text"].replace("><", "> <").split()]])
        made = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, pad_token_id=0,
            max_new_tokens=min(10, model.config.n_positions + 1) - prompt.shape[1],
        )  # fmt: skip
        text = "".join(strings[i] for i in made[0].tolist()).split("</a>")[0] + "</a>"
        found.append({**row, "model_output": text, "right": text == row["target_text"]})
    return found


def test_exact_accuracy_and_the_published_rows_are_the_originals(workplace, world, run, capfd):
    folder = evaluate(options(run, world, published_format=True, batch_size=7))
    table = read(folder / "tables" / "accuracy.parquet", tables.Accuracy)
    said = capfd.readouterr().err
    for checkpoint in checkpoints.find(run):
        expected = originals_way(modeling.load(checkpoint.folder), world)
        items = json.loads((folder / "published" / checkpoint.folder.name / "all_items.json").read_bytes())
        assert items == [{k: v for k, v in row.items() if k != "right"} for row in expected]
        told = []
        for kind in dict.fromkeys(row["type"] for row in expected):
            hits = [row["right"] for row in expected if row["type"] == kind]
            (row,) = table.filter(step=checkpoint.step, type=kind).to_dicts()
            assert row["n"] == len(hits)
            assert row["exact"] == pytest.approx(sum(hits) / len(hits))
            assert row["accuracy"] >= row["exact"]
            told.append(f"{kind}: {round(sum(hits) / len(hits), 3)}")
        assert f"{checkpoint.folder.name} | {'; '.join(told)}" in said
    both = table.filter(step=150, type="train_inferred").to_dicts()[0]
    assert both["accuracy"] == both["exact"] > 0.5  # once </a> is learned, the two are the same
    assert (folder / "figures" / "accuracy.png").is_file()


def test_a_model_that_did_not_learn_the_end_has_no_exact_accuracy(workplace, world):
    place = workplace / "checkpoints"
    model = circuit_subjects.trained(world, supervise="answer", steps=60)
    circuit_subjects.saved(model, place, 60, world)
    folder = evaluate(options(place, world, published_format=True))
    table = pl.read_parquet(folder / "tables" / "accuracy.parquet")
    assert table["exact"].null_count() == len(table)
    items = json.loads((folder / "published" / "checkpoint-60" / "all_items.json").read_bytes())
    hits = [each["model_output"] == each["target_text"] for each in items if each["type"] == "train_inferred"]
    assert table.filter(type="train_inferred")["accuracy"][0] == pytest.approx(sum(hits) / len(hits))
    assert sum(hits) > 0


def test_a_killed_evaluation_goes_on(workplace, world, run, monkeypatch):
    whole = evaluate(options(run, world, out=workplace / "whole", published_format=True))
    load, loaded = modeling.load, []

    def once(folder: Path, **rest: object) -> PreTrainedModel:
        loaded.append(folder.name)
        if len(loaded) == 2:
            raise KeyboardInterrupt
        return load(folder, **rest)

    monkeypatch.setattr(modeling, "load", once)
    asked = options(run, world, out=workplace / "killed", published_format=True)
    with pytest.raises(KeyboardInterrupt):
        evaluate(asked)
    folder = evaluate(asked)
    assert loaded == ["checkpoint-40", "checkpoint-150", "checkpoint-150"]
    for name in ("tables/accuracy.parquet", "published/checkpoint-40/all_items.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert "published/checkpoint-40/all_items.json" in (folder / "manifest.json").read_text()


def test_any_hugging_face_model_with_these_tokens(workplace, world):
    config = LlamaConfig(
        vocab_size=19, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    circuit_subjects.saved(model, workplace / "llama", 1, world)
    table = pl.read_parquet(evaluate(options(workplace / "llama", world)) / "tables" / "accuracy.parquet")
    data = dataset.read(world)
    rows = data.test.of("id_atomic")
    with torch.no_grad():
        logits = model(torch.as_tensor(rows.ids[:, :2].astype("int64"))).logits[:, -1]
    nll = -logits.log_softmax(-1)[torch.arange(len(rows)), torch.as_tensor(rows.ids[:, 2].astype("int64"))]
    assert table.filter(type="id_atomic")["nll"][0] == pytest.approx(float(nll.mean()), abs=1e-5)


def test_models_with_the_originals_vocabulary(workplace, world):
    """GPT-2's 50,257 tokens, then the world's, padded to a multiple of 8; blocks run twice."""
    shape = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16, "add_recurrence": True}
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50280, **shape)).eval()
    model.save_pretrained(workplace / "original" / "checkpoint-7")
    table = pl.read_parquet(evaluate(options(workplace / "original", world)) / "tables" / "accuracy.parquet")
    rows = dataset.read(world).test.of("train_inferred")
    ids = torch.as_tensor(rows.ids.astype("int64")) + 50257
    with torch.no_grad():
        x = model.transformer.wte(ids[:, :3]) + model.transformer.wpe.weight[:3]
        for block in [*model.transformer.h, *model.transformer.h]:
            out = block(x)
            x = out[0] if isinstance(out, tuple) else out
        logits = model.lm_head(model.transformer.ln_f(x[:, -1]))
    nll = -logits.log_softmax(-1)[torch.arange(len(rows)), ids[:, 3]]
    assert table.filter(type="train_inferred")["nll"][0] == pytest.approx(float(nll.mean()), abs=1e-4)


def test_a_checkpoint_of_another_world_is_refused(workplace, world, run):
    other = small_world.write(workplace / "other", entities=12)
    with pytest.raises(UsageError, match=r"checkpoint-40 was not trained on --data .*other"):
        evaluate(options(run, other))
