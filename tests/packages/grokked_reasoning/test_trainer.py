"""A step of training against plain Hugging Face and PyTorch, and what decides what a step does."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from grokked_reasoning import dataset, modeling
from grokked_reasoning.dataset import Data
from grokked_reasoning.options import TrainOptions
from grokked_reasoning.training import optimizer
from grokked_reasoning.training.feed import Feed
from grokked_reasoning.training.grokfast import Grokfast
from grokked_reasoning.training.trainer import Supervised, Trainer
from runkit.team import Team
from torch import nn

from tests.packages.grokked_reasoning import small_world


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return dataset.read(small_world.write(tmp_path / "world"))


def _options(**given: object) -> TrainOptions:
    small = {"layers": 2, "width": 16, "heads": 2, "batch_size": 32, "dropout": 0.0, "warmup": 10, "device": "cpu"}
    return TrainOptions.model_validate({**small, **given})


def _model(data: Data, **given: int) -> nn.Module:
    torch.manual_seed(3)
    sizes = {"layers": 2, "width": 16, "heads": 2, **given}
    return modeling.build(len(data.vocabulary), positions=data.positions, dropout=0.0, **sizes)


def _labels(data: Data, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels as Hugging Face takes them, from the rows' texts."""
    ids = torch.from_numpy(data.train.ids[rows]).long()
    labels = torch.full_like(ids, -100)
    for i, row in enumerate(rows.tolist()):
        start, length = data.train.start[row], data.train.length[row]
        labels[i, start : start + length] = ids[i, start : start + length]
    return ids, labels


@pytest.mark.parametrize("supervise", ["answer", "target"])
@pytest.mark.parametrize("loops", [1, 2])
def test_the_loss_is_that_of_hugging_face(tmp_path: Path, supervise: str, loops: int):
    data = dataset.read(small_world.write(tmp_path / "world"), supervise)
    model = _model(data, loops=loops)
    feed = Feed(data.train, 64, seed=0, device=torch.device("cpu"))
    rows = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(1))[:64]
    ids, labels = _labels(data, rows)
    ours = Supervised(model)(feed.ids[rows].long(), feed.places[rows], feed.targets[rows])
    torch.testing.assert_close(ours, model(input_ids=ids, labels=labels).loss, rtol=1e-6, atol=1e-6)


def test_steps_are_those_of_a_plain_loop(data: Data):
    options = _options(weight_decay=0.3, learning_rate=1e-2)
    ours, plain = _model(data), _model(data)
    trainer = Trainer(ours, data.train, options, Team("cpu"))
    spared = [each for name, each in plain.named_parameters() if each.ndim == 1]
    groups = [
        {"params": [each for each in plain.parameters() if each.ndim > 1], "weight_decay": 0.3},
        {"params": spared, "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=1e-2)
    trainer.settle()
    for step in range(20):
        rows = trainer.feed._rows(step * 32, 32)
        ids, labels = _labels(data, rows)
        for group in adamw.param_groups:
            group["lr"] = 1e-2 * min(1, (step + 1) / 10)
        adamw.zero_grad()
        plain(input_ids=ids, labels=labels).loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        adamw.step()
        trainer.advance()
    for (name, mine), theirs in zip(ours.named_parameters(), plain.parameters(), strict=True):
        # A key's bias has no effect, so its gradient is rounding alone, which AdamW makes as large as any other.
        kept = [*range(16), *range(32, 48)] if name.endswith("c_attn.bias") else ...
        torch.testing.assert_close(mine[kept], theirs[kept], rtol=0, atol=2e-5, msg=name)


def test_every_epoch_gives_each_row_once_in_an_order_of_its_own(data: Data):
    feed = Feed(data.train, 7, seed=5, device=torch.device("cpu"))
    count = len(feed)
    stream = torch.cat([feed._rows(step * 7, 7) for step in range(3 * count)])[: 3 * count].reshape(3, count)
    assert [sorted(epoch.tolist()) for epoch in stream] == [list(range(count))] * 3
    assert not torch.equal(stream[0], stream[1])
    fresh = Feed(data.train, 7, seed=5, device=torch.device("cpu"))
    assert torch.equal(fresh._rows(20 * 7, 7), stream.flatten()[140:147])
    assert not torch.equal(Feed(data.train, 7, seed=6, device=torch.device("cpu"))._rows(0, 7), stream[0, :7])


def test_processes_share_a_batch_without_overlap(data: Data):
    feed = Feed(data.train, 32, seed=0, device=torch.device("cpu"))
    whole = feed.batch(3)
    halves = [feed.batch(3, rank, 2) for rank in (0, 1)]
    for part, (one, other) in zip(whole, zip(*halves, strict=True), strict=True):
        assert torch.equal(part, torch.cat([one, other]))


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        ("constant", transformers.get_constant_schedule_with_warmup),
        ("linear", transformers.get_linear_schedule_with_warmup),
        ("cosine", transformers.get_cosine_schedule_with_warmup),
    ],
)
def test_schedules_are_those_of_transformers(schedule: str, theirs):
    options = _options(schedule=schedule, learning_rate=0.5, warmup=10, max_steps=50)
    dummy = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    sizes = (10,) if schedule == "constant" else (10, 50)
    scheduler = theirs(dummy, *sizes)
    expected = []
    for _ in range(50):
        expected.append(dummy.param_groups[0]["lr"])
        dummy.step()
        scheduler.step()
    # Theirs counts the first step of a warm-up as 0, ours as 1, so that no step is lost; after it they agree.
    ours = [optimizer.rate(options, step) for step in range(50)]
    assert ours[:9] == pytest.approx(expected[1:10])
    assert ours[10:] == pytest.approx(expected[10:])


def test_muon_takes_the_matrices_of_the_blocks_alone(data: Data):
    model = _model(data)
    adamw, muon = optimizer.make(model, _options(optimizer="muon"), torch.device("cpu"))
    assert isinstance(muon, torch.optim.Muon)
    names = {id(each): name for name, each in model.named_parameters()}
    taken = {names[id(each)] for group in muon.param_groups for each in group["params"]}
    assert taken == {
        name for name in names.values() if ".h." in name and name.endswith("weight") and ".ln_" not in name
    }
    rest = {names[id(each)] for group in adamw.param_groups for each in group["params"]}
    assert taken | rest == set(names.values())
    assert not taken & rest


def test_biases_and_norms_do_not_decay_and_embeddings_do(data: Data):
    model = _model(data)
    (adamw,) = optimizer.make(model, _options(weight_decay=0.1), torch.device("cpu"))
    names = {id(each): name for name, each in model.named_parameters()}
    decays = {names[id(each)]: group["weight_decay"] for group in adamw.param_groups for each in group["params"]}
    assert decays["transformer.wte.weight"] == decays["transformer.h.0.mlp.c_fc.weight"] == 0.1
    assert {value for name, value in decays.items() if name.endswith("bias") or "ln" in name} == {0.0}


def test_grokfast_ema_against_numpy():
    parameter = nn.Parameter(torch.zeros(3))
    grokfast, slow = Grokfast("ema", [parameter]), None
    for step, gradient in enumerate(np.random.default_rng(0).normal(size=(5, 3))):
        slow = gradient if step == 0 else 0.98 * slow + 0.02 * gradient
        parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        grokfast.apply()
        np.testing.assert_allclose(parameter.grad.numpy(), gradient + 2.0 * slow, rtol=1e-5)


def test_grokfast_ma_against_numpy():
    parameter = nn.Parameter(torch.zeros(2))
    grokfast, gradients = Grokfast("ma", [parameter]), np.random.default_rng(0).normal(size=(130, 2))
    for step, gradient in enumerate(gradients):
        parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        grokfast.apply()
        slow = 5.0 * gradients[step - 99 : step + 1].mean(0) if step >= 99 else 0.0
        np.testing.assert_allclose(parameter.grad.numpy(), gradient + slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("given", [{"dropout": 0.1}, {"optimizer": "muon"}, {"grokfast": "ma"}, {"grokfast": "ema"}])
def test_a_restored_trainer_makes_the_same_steps(data: Data, given: dict[str, object]):
    options = _options(**given)
    whole = Trainer(_model(data), data.train, options, Team("cpu"))
    whole.settle()
    for _ in range(6):
        whole.advance()
    state = {name: each.clone() for name, each in whole.state().items()}
    weights = _model(data)
    weights.load_state_dict(whole.model.state_dict())
    later = Trainer(_model(data), data.train, options, Team("cpu"))
    later.restore(6, weights, state)
    for trainer in (whole, later):
        trainer.settle()
        for _ in range(6):
            trainer.advance()
    for mine, theirs in zip(later.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_low_precision_keeps_weights_in_fp32(data: Data):
    trainer = Trainer(_model(data), data.train, _options(precision="bf16"), Team("cpu"))
    trainer.settle()
    for _ in range(3):
        trainer.advance()
    assert {each.dtype for each in trainer.model.parameters()} == {torch.float32}
    assert math.isfinite(trainer.told()["loss"])
