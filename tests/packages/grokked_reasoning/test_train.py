"""The stage `train`: what it writes, how it goes on, and what it says when something is wrong."""

import errno
import json
from pathlib import Path

import mlflow
import polars as pl
import pytest
import torch
from grokked_reasoning import checkpoints, modeling, tables
from grokked_reasoning.options import TrainOptions
from grokked_reasoning.train import train
from grokked_reasoning.training import saving
from grokked_reasoning.training.history import History
from runkit.errors import DataError, UsageError
from runkit.tables import read
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.packages.grokked_reasoning import small_world
from tests.teams import as_a_team

SMALL = {
    "layers": 1, "width": 32, "heads": 2, "batch_size": 64, "warmup": 20, "threads": 1, "device": "cpu",
    "learning_rate": 5e-3, "evaluate_every": 20, "save_every": 40, "dense_every": 20, "dense_until": 60,
    "max_steps": 120, "stop": "never",
}  # fmt: skip


@pytest.fixture
def world(workplace: Path) -> Path:
    return small_world.write(workplace / "world")


def _options(**given: object) -> TrainOptions:
    return TrainOptions.model_validate({**SMALL, "data": "world", **given})


def _trained(**given: object) -> Path:
    folder = train(_options(**given))
    assert folder is not None
    return folder


def _weights(folder: Path) -> bytes:
    return (checkpoints.find(folder)[-1].folder / "model.safetensors").read_bytes()


@pytest.fixture
def folder(world: Path) -> Path:
    return _trained(out="run")


def test_checkpoints_are_where_they_should_be_and_only_the_last_can_be_resumed(folder: Path):
    found = checkpoints.find(folder)
    assert [each.step for each in found] == [20, 40, 60, 80, 120]
    assert all(each.fault() is None for each in found)
    assert [each.step for each in found if (each.folder / "optimizer.safetensors").exists()] == [80, 120]


def test_curves_are_what_hugging_face_generates(folder: Path):
    """The last row of every type, answered by the checkpoint through Hugging Face's own generate."""
    last = checkpoints.find(folder)[-1].folder
    model, tokenizer = AutoModelForCausalLM.from_pretrained(last).eval(), AutoTokenizer.from_pretrained(last)
    curves = read(folder / "tables" / "curves.parquet", tables.Curves).filter(pl.col("step") == 120)
    rows = json.loads(Path("world/test.json").read_text())
    for kind, n, accuracy in curves.select("type", "n", "accuracy").iter_rows():
        asked = [row for row in rows if row["type"] == kind]
        right = 0
        for row in asked:
            asking = tokenizer(row["input_text"], return_tensors="pt")
            made = model.generate(**asking, max_new_tokens=1, do_sample=False, pad_token_id=0)
            right += tokenizer.decode(made[0]) == row["target_text"].removesuffix("</a>")
        assert (n, accuracy) == (len(asked), pytest.approx(right / len(asked)))


@pytest.mark.usefixtures("recorded")
def test_the_run_is_live_in_mlflow(folder: Path):
    run = mlflow.MlflowClient().search_runs(["0", "1", "2"], "tags.stage = 'grokked-reasoning.train'")[0]
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "accuracy/train_inferred")
    assert [each.step for each in history] == list(range(0, 121, 20))
    assert history[-1].value > history[0].value
    assert {"nll/test_inferred_iid", "loss", "weight_norm", "steps_per_second"} <= set(run.data.metrics)


def test_the_same_seed_gives_the_same_weights_and_another_others(world: Path):
    first, again, other = (_weights(_trained(out=f"run{i}", seed=seed)) for i, seed in enumerate((1, 1, 2)))
    assert first == again
    assert first != other


def test_events_are_the_first_evaluations_that_count():
    history = History(("a", "b"), ("i",), ("o",), fitted=0.9, grokked=0.8, patience=2)
    for step, a, b, i, o in ((1, 0.95, 0.5, 0.1, 0), (2, 0.95, 0.9, 0.3, 0), (3, 1, 1, 0.8, 0), (4, 1, 1, 0.7, 0),
                             (5, 1, 1, 0.9, 0), (6, 1, 1, 0.8, 0.1)):  # fmt: skip
        for kind, value in (("a", a), ("b", b), ("i", i), ("o", o)):
            history.curves.append({"step": step, "type": kind, "accuracy": value})
    told = {event.event: (event.step, event.id_accuracy, event.ood_accuracy) for event in history.events()}
    assert told == {"fitted": (2, 0.3, 0), "grokked_id": (5, 0.9, 0), "grokked_ood": (None, None, None)}


def test_it_stops_once_grokked(world: Path):
    """A threshold that chance reaches: the first evaluation counts, and the third in a row ends it."""
    folder = _trained(out="run", grokked=1e-9, stop="id", save_every=1000, dense_until=0)
    events = read(folder / "tables" / "events.parquet", tables.Events)
    curves = read(folder / "tables" / "curves.parquet", tables.Curves).filter(type="test_inferred_iid")
    step = events.filter(event="grokked_id")["step"][0]
    assert curves["step"].max() == step + 40 < 120
    assert checkpoints.find(folder)[-1].step == step + 40


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(folder: Path, world: Path, capfd):
    whole = _weights(folder)
    (folder / "manifest.json").unlink()  # as if killed before the end
    weights = folder / "checkpoints" / "checkpoint-120" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    (folder / "checkpoints" / "checkpoint-140.partial").mkdir()
    assert _weights(_trained(out="run")) == whole
    said = capfd.readouterr().err
    assert "checkpoint-120/model.safetensors is damaged" in said
    assert "goes on from the one before" in said
    assert "checkpoint-140.partial was only half written" in said


def test_a_run_that_diverges_stops_and_keeps_what_was_good(world: Path):
    with pytest.raises(DataError, match=r"diverged.*not finite at step \d+.*lower --learning-rate"):
        train(_options(out="run", learning_rate=1e30, clip=1e30, warmup=100, evaluate_every=5, save_every=5))
    for each in checkpoints.find(Path("run")) if list(Path("run").glob("checkpoints/checkpoint-*")) else []:
        assert all(torch.isfinite(value).all() for value in load_file(each.folder / "model.safetensors").values())


def test_a_full_disk_is_told_and_the_run_goes_on_later(world: Path, monkeypatch: pytest.MonkeyPatch):
    whole = _weights(_trained(out="calm"))
    real, seen = saving.save_file, []

    def full(tensors, path):
        seen.append(path)
        if len(seen) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(saving, "save_file", full)
    with pytest.raises(DataError, match=r"checkpoint-60: not written, the disk is full; .*checkpoint-40"):
        train(_options(out="run"))
    assert [each.name for each in sorted(Path("run/checkpoints").iterdir())] == ["checkpoint-20", "checkpoint-40"]
    assert _weights(_trained(out="run")) == whole


def test_thinning_keeps_first_last_and_the_events(world: Path):
    folder = _trained(out="run", save_every=10, dense_until=0, keep=4, fitted=0.3, max_steps=200)
    steps = [each.step for each in checkpoints.find(folder)]
    fitted = read(folder / "tables" / "events.parquet", tables.Events).filter(event="fitted")["step"][0]
    assert {10, 190, 200, fitted} <= set(steps)
    assert len(steps) <= 5


@pytest.mark.parametrize("trainer", ["native", "simpletransformers"])
def test_both_trainers_fit(world: Path, trainer: str):
    folder = _trained(out="run", trainer=trainer, max_steps=400, dropout=0.0, evaluate_every=100)
    curves = read(folder / "tables" / "curves.parquet", tables.Curves)
    fitted = curves.filter((pl.col("step") == 400) & pl.col("type").str.contains("atomic|train"))
    assert (fitted["accuracy"] > 0.9).all()
    losses = read(folder / "tables" / "losses.parquet", tables.Losses)
    assert losses["loss"][-1] < 0.3 * losses["loss"][1]


def test_two_processes_train_as_one(world: Path, processes):
    """Gradients averaged over halves of a batch are the batch's: the same weights but for rounding."""
    alone = _trained(out="alone", dropout=0.0, max_steps=20, evaluate_every=10, save_every=10)
    pair = _options(out="pair", dropout=0.0, max_steps=20, evaluate_every=10, save_every=10)
    as_a_team(processes, 2, Path.cwd(), train, pair)
    one, two = (load_file(checkpoints.find(Path(each))[-1].folder / "model.safetensors") for each in (alone, "pair"))
    for name, value in one.items():
        kept = [*range(32), *range(64, 96)] if name.endswith("c_attn.bias") else ...
        torch.testing.assert_close(two[name][kept], value[kept], rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": "nowhere"}, "nowhere"),
        ({"width": 30, "heads": 4}, "--width 30 is not a multiple of --heads 4"),
        ({"device": "cuda:7"}, "--device cuda:7"),
    ],
)
def test_bad_options_are_told(world: Path, given: dict[str, object], message: str):
    with pytest.raises(UsageError, match=message):
        train(_options(**given))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train.json", "[{]", r"train.json: cannot be read as JSON"),
        ("train.json", '[{"input_text": "<e_0>"}]', r"train.json: row 0 has no field 'target_text'"),
        ("test.json", '[{"input_text": "<e_0>", "target_text": "<e_0><x></a>"}]', r"test.json: row 0.*'<x>' is not in"),
        ("test.json", '[{"input_text": "<e_1>", "target_text": "<e_0></a>"}]', r"test.json: row 0.*is not input_text"),
        ("vocab.json", '["<e_0>", "<e_0>"]', r"vocab.json: '<e_0>' stands there twice"),
    ],
)
def test_bad_files_are_told(world: Path, file: str, content: str, message: str):
    (world / file).write_text(content)
    with pytest.raises(DataError, match=message):
        train(_options())


def test_a_folder_without_data_is_told(world: Path):
    (world / "test.json").unlink()
    with pytest.raises(UsageError, match=r"world: no data folder: test.json is missing"):
        train(_options())


def test_no_checkpoints_are_told(workplace: Path):
    Path("empty").mkdir()
    with pytest.raises(UsageError, match="no checkpoint-N folders"):
        checkpoints.find(Path("empty"))
    modeling.build(5, layers=1, width=16, heads=2, positions=8).save_pretrained("empty/checkpoint-3")
    assert [each.step for each in checkpoints.find(Path("empty"))] == [3]
