"""simpletransformers' trainer on our data: it learns what it should, stops when told, and leaves nothing behind."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from grokked_reasoning import dataset, modeling
from grokked_reasoning.dataset import Data
from grokked_reasoning.options import TrainOptions
from grokked_reasoning.training import simple
from grokked_reasoning.training.feed import Feed
from grokked_reasoning.training.saving import Learner
from grokked_reasoning.training.trainer import Supervised
from runkit.errors import UsageError
from torch import nn
from transformers import PreTrainedModel

ENTITIES, RELATIONS = 8, 3
BASE = {"layers": 1, "width": 32, "heads": 2, "dropout": 0.0, "warmup": 0, "threads": 1, "device": "cpu"}


def _never(_learner: Learner) -> bool:
    return False


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """24 facts, and 8 of them asked in one word more, so that rows differ in length."""
    facts = [
        (f"<e_{h}><r_{r}>", f"<e_{(3 * h + 5 * r) % ENTITIES}>") for h in range(ENTITIES) for r in range(RELATIONS)
    ]
    facts += [(f"<q>{prompt}", answer) for prompt, answer in facts[::3]]
    rows = [
        {"input_text": prompt, "target_text": f"{prompt}{answer}</a>", "type": "id_atomic"} for prompt, answer in facts
    ]
    words = [*(f"<e_{i}>" for i in range(ENTITIES)), *(f"<r_{i}>" for i in range(RELATIONS)), "<q>", "</a>"]
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in {"train": rows, "test": rows, "vocab": words}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return dataset.read(folder)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and home, and no network."""

    def refuse(*_args: Any) -> None:
        raise AssertionError("asked for the network")

    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return place


def _model(data: Data, **more: Any) -> PreTrainedModel:
    torch.manual_seed(1)
    sizes = {"layers": 1, "width": 32, "heads": 2, "dropout": 0.0} | more
    return modeling.build(len(data.vocabulary), positions=data.positions, **sizes)


def _run(
    data: Data, model: PreTrainedModel, folder: Path, look: Callable[[Learner], bool] = _never, **asked: Any
) -> int:
    folder.mkdir(exist_ok=True)
    return simple.train_simple(data, TrainOptions(**{**BASE, **asked}), model, folder, look)


def _right(model: PreTrainedModel, data: Data) -> float:
    """Share of facts whose answer is the likeliest token, by plain forwards of one prompt each."""
    hits = [
        int(model(torch.tensor([data.train.prompt(i)])).logits[0, -1].argmax()) == ids[start]
        for i, (ids, start) in enumerate(zip(data.train.ids, data.train.start, strict=True))
    ]
    return sum(hits) / len(hits)


def test_it_fits_and_writes_nothing(data: Data, alone: Path, tmp_path: Path) -> None:
    model = _model(data)
    run = tmp_path / "run"
    assert _right(model, data) < 0.5
    _run(data, model, run, batch_size=16, max_steps=250, learning_rate=5e-3, evaluate_every=100)
    assert _right(model.eval(), data) == 1.0
    assert list(alone.iterdir()) == list(run.iterdir()) == []


@pytest.mark.parametrize(("supervise", "loops"), [("answer", 1), ("target", 1), ("answer", 2)])
def test_steps_are_those_of_a_loop_written_out(data: Data, tmp_path: Path, supervise: Any, loops: int) -> None:
    """With all rows in each batch: Hugging Face's loss, its optimizer groups, a clip, a warm-up that starts at 0."""
    data = dataset.read(data.folder, supervise)
    model, other = _model(data, loops=loops), _model(data, loops=loops)
    options = {"warmup": 3, "learning_rate": 1e-2, "weight_decay": 0.5, "clip": 0.1, "schedule": "linear"}
    told: list[dict[str, float]] = []
    steps = _run(
        data, model, tmp_path / "run", lambda learner: bool(told.append(learner.told())), max_steps=6,
        batch_size=len(data.train), evaluate_every=4, save_every=100, dense_until=0, **options,
    )  # fmt: skip
    assert steps == 6
    expected = _written_out(other, data, steps)
    for (name, mine), (_, theirs) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5, msg=name)
    assert [each["loss"] for each in told] == pytest.approx(
        [0.0, expected["loss"][:4].mean(), expected["loss"][4:].mean()]
    )
    for name in ("learning_rate", "gradient_norm", "weight_norm"):
        assert [each[name] for each in told[1:]] == pytest.approx(expected[name][[3, 5]], rel=1e-4)


def _written_out(model: PreTrainedModel, data: Data, steps: int) -> dict[str, np.ndarray]:
    """The same in plain PyTorch; what it saw at every step."""
    ids, labels = torch.from_numpy(data.train.ids).long(), torch.full(data.train.ids.shape, -100)
    for row, (start, length) in enumerate(zip(data.train.start, data.train.length, strict=True)):
        labels[row, start : start + length] = ids[row, start : start + length]
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if not n.endswith("bias")], "weight_decay": 0.5},
        {"params": [p for n, p in named if n.endswith("bias")], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    seen: dict[str, list[float]] = {"loss": [], "learning_rate": [], "gradient_norm": [], "weight_norm": []}
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * min(step / 3, (steps - step) / (steps - 3))
        model.zero_grad()
        loss = model(ids, labels=labels).loss
        loss.backward()
        seen["loss"].append(loss.item())
        seen["learning_rate"].append(optimizer.param_groups[0]["lr"])
        seen["gradient_norm"].append(float(nn.utils.clip_grad_norm_(model.parameters(), 0.1)))
        optimizer.step()
        seen["weight_norm"].append(sum(p.square().sum().item() for _, p in named) ** 0.5)
    return {name: np.array(values) for name, values in seen.items()}


@pytest.mark.parametrize("supervise", ["answer", "target"])
def test_loss_is_that_of_our_loop(data: Data, supervise: Any) -> None:
    data = dataset.read(data.folder, supervise)
    model = _model(data)
    pupil = simple.Pupil(model, TrainOptions(**BASE), _never)
    pairs = simple.labelled(data.train)
    feed = Feed(data.train, len(data.train), 0, torch.device("cpu"))
    theirs = pupil(input_ids=pairs, attention_mask=None, labels=pairs).loss
    torch.testing.assert_close(theirs, Supervised(model)(*feed.batch(0)), rtol=0, atol=1e-5)


def test_it_is_looked_at_between_steps_and_stops(data: Data, tmp_path: Path) -> None:
    """At the steps at which our loop is, the last one too. Told to stop, nothing moves any more."""
    asked: list[int] = []
    kept: list[torch.Tensor] = []

    def look(learner: Learner) -> bool:
        learner.model.eval()
        asked.append(learner.step)
        kept.append(learner.model.lm_head.weight.detach().clone())
        return len(asked) == 3

    options = {"batch_size": 8, "evaluate_every": 5, "learning_rate": 1e-2, "max_steps": 12}
    sparse = {"save_every": 8, "dense_every": 2, "dense_until": 2}
    made = _run(data, _model(data), tmp_path / "all", lambda each: look(each) and False, **options, **sparse)
    assert (asked, made) == ([0, 2, 5, 8, 10, 12], 12)
    asked.clear()
    kept.clear()
    model = _model(data)
    assert _run(data, model, tmp_path / "some", look, **options, save_every=100, dense_until=0) == 10
    assert asked == [0, 5, 10]
    assert not torch.equal(kept[1], kept[2])
    assert torch.equal(kept[2], model.lm_head.weight)
    assert not any(each._post_accumulate_grad_hooks for each in model.parameters())


def test_the_seed_decides(data: Data, tmp_path: Path) -> None:
    """The same weights again from the same seed, dropout and shuffle included; others from another, and from 0 too."""

    def trained(name: str, seed: int) -> torch.Tensor:
        torch.rand(len(name))  # whatever has been drawn before does not matter
        model = _model(data, dropout=0.3)
        _run(data, model, tmp_path / name, batch_size=8, max_steps=5, learning_rate=1e-2, seed=seed)
        return model.lm_head.weight.detach()

    first = trained("a", 0)
    assert torch.equal(first, trained("another", 0))
    assert not torch.allclose(first, trained("b", 7))


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"optimizer": "muon"}, "--optimizer muon"),
        ({"grokfast": "ema"}, "--grokfast ema"),
        ({"precision": "bf16"}, "--precision bf16"),
        ({"compile": True}, "--compile"),
    ],
)
def test_what_it_does_not_have_is_refused(data: Data, tmp_path: Path, asked: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=f"{named}: --trainer simpletransformers"):
        _run(data, _model(data), tmp_path / "run", **asked)
    assert list((tmp_path / "run").iterdir()) == []


def test_several_processes_are_refused(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one process"):
        _run(data, _model(data), tmp_path / "run")


def test_an_interrupted_run_is_not_taken_up_again(data: Data, tmp_path: Path) -> None:
    def interrupt(learner: Learner) -> bool:
        if learner.step:
            raise KeyboardInterrupt
        return False

    options = {"batch_size": 8, "max_steps": 4, "evaluate_every": 2}
    with pytest.raises(KeyboardInterrupt):
        _run(data, _model(data), tmp_path / "run", interrupt, **options)
    with pytest.raises(UsageError, match=r"run was interrupted.*--fresh"):
        _run(data, _model(data), tmp_path / "run", **options)
