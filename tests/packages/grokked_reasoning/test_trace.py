"""The stage `trace`: what it writes, how it goes on, and models with the original's vocabulary."""

from pathlib import Path

import polars as pl
import pytest
import torch
from grokked_reasoning import dataset, modeling, tables
from grokked_reasoning.circuit_figures import Course
from grokked_reasoning.options import TraceOptions
from grokked_reasoning.trace import trace
from grokked_reasoning.tracing import causal, draw
from grokked_reasoning.tracing.layers import opened
from runkit.errors import UsageError
from runkit.tables import read
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerFast

from tests.packages.grokked_reasoning import circuit_subjects, small_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_world.write(tmp_path_factory.mktemp("trace") / "world")


@pytest.fixture(scope="module")
def run(world: Path) -> Path:
    place = world.parent / "checkpoints"
    for steps in (20, 100):
        circuit_subjects.saved(circuit_subjects.trained(world, steps=steps), place, steps, world)
    return place


def options(place: Path, world: Path, **given: object) -> TraceOptions:
    told = {"checkpoints": str(place), "data": str(world), "device": "cpu", "limit": 10, **given}
    return TraceOptions.model_validate(told)


def test_tables_figures_and_metrics(workplace, world, run):
    folder = trace(options(run, world, limit=20))
    effects = read(folder / "tables" / "effects.parquet", tables.Effects)
    lens = read(folder / "tables" / "lens.parquet", tables.Lens)
    model = opened(modeling.load(run / "checkpoint-100"))
    examples = draw.examples(dataset.read(world), "train_inferred", 20, 0)
    assert effects.filter(step=100).drop("step").equals(causal.strengths(model, examples, targets=True))
    assert lens["step"].unique().sort().to_list() == [20, 100]
    assert lens.filter(step=20, layer=0, position=2, target="second_relation")["mrr"][0] > 0.8  # its own embedding
    assert all((folder / "figures" / f"{name}.png").is_file() for name in ("circuit", "lens"))
    journal = (folder / "journal.jsonl").read_text()
    assert all(f'"{name}"' in journal for name in ("mrr/bridge", "strength/r1", "strength_right/r1", "mrr bridge"))


def test_inner_targets_are_an_option(workplace, world, run):
    folder = trace(options(run, world, targets=False))
    assert set(pl.read_parquet(folder / "tables" / "effects.parquet")["target"]) == {"answer"}


def test_a_killed_trace_goes_on(workplace, world, run, monkeypatch):
    whole = trace(options(run, world, out=workplace / "whole"))
    load, loaded = modeling.load, []

    def once(folder: Path, **rest: object) -> PreTrainedModel:
        loaded.append(folder.name)
        if len(loaded) == 2:
            raise KeyboardInterrupt
        return load(folder, **rest)

    monkeypatch.setattr(modeling, "load", once)
    with pytest.raises(KeyboardInterrupt):
        trace(options(run, world, out=workplace / "killed"))
    folder = trace(options(run, world, out=workplace / "killed"))
    assert loaded == ["checkpoint-20", "checkpoint-100", "checkpoint-100"]
    for name in ("tables/lens.parquet", "tables/effects.parquet", "figures/circuit.png", "figures/lens.png"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


@pytest.fixture(scope="module")
def original(world: Path) -> PreTrainedModel:
    """A recurrent model as the original saves it: GPT-2's tokens, then the world's, padded to a multiple of 8."""
    torch.manual_seed(0)
    shape = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16, "add_recurrence": True}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50280, **shape)).eval()
    for each in model.parameters():
        each.data.mul_(5)
    return model


@torch.no_grad()
def test_original_weights_are_traced_over_both_passes(workplace, world, original):
    original.save_pretrained(workplace / "original" / "checkpoint-7")
    folder = trace(options(workplace / "original", world, targets=False))
    effects = pl.read_parquet(folder / "tables" / "effects.parquet")
    assert effects["layer"].unique().sort().to_list() == [1, 2, 3, 4]
    own = draw.examples(dataset.read(world), "train_inferred", 10, 0)
    original.transformer.h.extend(list(original.transformer.h)[:2])  # the second pass, for the loop by hand
    lens = pl.read_parquet(folder / "tables" / "lens.parquet").filter(target="bridge", position=1)
    for layer in range(5):
        ranks = [
            circuit_subjects.rank(
                original, circuit_subjects.states(original, (prompt + 50257).tolist())[layer][1], int(b) + 50257
            )
            for prompt, b in zip(own.prompts, own.targets["bridge"][:, 0], strict=True)
        ]
        mrr = sum(1 / (1 + rank) for rank in ranks) / len(ranks)
        assert lens.filter(layer=layer)["mrr"][0] == pytest.approx(mrr, rel=1e-4)
    del original.transformer.h[2:]


def test_a_folders_own_tokenizer_tells_the_ids(workplace, world, run):
    """The same model with its tokens in another order, and others before them."""
    model = modeling.load(run / "checkpoint-100")
    strings = dataset.read(world).vocabulary.strings
    moved = {each: 40 - i for i, each in enumerate(strings)}
    old, bigger = model.transformer.wte.weight.data, modeling.build(44, layers=3, width=32, heads=2, positions=5)
    weights = {**model.state_dict()}
    table = torch.full((44, 32), 0.0)
    table[[moved[each] for each in strings]] = old
    for name in ("transformer.wte.weight", "lm_head.weight"):
        weights[name] = table
    bigger.load_state_dict(weights)
    folder = workplace / "moved" / "checkpoint-100"
    bigger.save_pretrained(folder)
    from tokenizers import Tokenizer, models

    known = {f"other_{i}": i for i in range(44) if i not in moved.values()} | moved
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(known))).save_pretrained(folder)
    found, expected = (
        pl.read_parquet(trace(options(place, world, targets=False)) / "tables" / "effects.parquet").filter(step=100)
        for place in (workplace / "moved", run)
    )
    assert found.drop("strength", "strength_right", "n_right").equals(
        expected.drop("strength", "strength_right", "n_right")
    )
    for name in ("strength", "strength_right"):  # tokens of logit 0 stand beside the others now
        assert (found[name] - expected[name]).abs().max() <= 0.2
    wrong = small_world.write(workplace / "wrong", entities=20)
    with pytest.raises(UsageError, match="tokenizer does not know '<e_12>'"):
        trace(options(workplace / "moved", wrong))


def test_grokking_starts_at_the_checkpoint_next_to_fitted():
    effects = pl.DataFrame({"step": [100, 200, 400, 800]})
    assert Course({"fitted": 260}, {}, ()).start(effects) == 200
    assert Course({"grokked_id": 400}, {}, ()).start(effects) == 100


def test_a_task_without_a_circuit_is_named(workplace, world, run):
    (workplace / "odd").mkdir()
    for path in world.glob("*.json"):
        (workplace / "odd" / path.name).write_bytes(path.read_bytes())
    (workplace / "odd" / "world.json").write_text('{"task": "profiles"}')
    with pytest.raises(UsageError, match="a world of profiles, which cannot be traced"):
        trace(options(run, workplace / "odd"))
