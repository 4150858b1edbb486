"""Training: a step depends on seed and number only, and a stopped run ends with the bytes of an undisturbed one."""

from pathlib import Path

import pytest
import torch
from specimens.text import LEAD
from specimens.tokenizer import BOS, EOS
from specimens.training import WEIGHTS, Packer, TrainConfig, build_model, build_tokenizer, learning_rate, train
from specimens.training import weighted_loss as loss_of

SMALL = TrainConfig(
    seed=3, steps=9, threads=1, save_every=3, rows=2, length=64, warmup=3, layers=1, d_model=16, d_mlp=32, heads=2,
    vocab_size=400, tokenizer_documents=100,
)  # fmt: skip


@pytest.fixture(scope="module")
def packer() -> Packer:
    return Packer(SMALL, build_tokenizer(SMALL))


def test_interrupted_and_resumed_ends_with_the_same_bytes(tmp_path: Path):
    """A process killed for good is in test_train_stage.py."""

    def interrupt(step: int, loss: float, seconds: float) -> None:
        if step == 6:
            raise KeyboardInterrupt

    undisturbed = train(SMALL, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, tmp_path / "stopped", interrupt)
    torch.manual_seed(12345)
    resumed = train(SMALL, tmp_path / "stopped")
    assert (tmp_path / "whole" / WEIGHTS).read_bytes() == (tmp_path / "stopped" / WEIGHTS).read_bytes()
    assert resumed.losses == undisturbed.losses
    assert [step for step, _ in resumed.losses] == [3, 6, 9]


def test_another_configuration_is_refused(tmp_path: Path):
    train(SMALL, tmp_path)
    with pytest.raises(ValueError, match="other options"):
        train(TrainConfig(**{**vars(SMALL), "seed": 4}), tmp_path)


def test_training_lowers_the_loss(tmp_path: Path):
    config = TrainConfig(**{**vars(SMALL), "steps": 60, "save_every": 20, "learning_rate": 0.01})
    losses = [loss for _, loss in train(config, tmp_path).losses]
    assert losses[2] < losses[0] - 0.5


def test_batches_depend_on_seed_and_step_only(packer: Packer):
    first, again = packer.batch(5), Packer(SMALL, build_tokenizer(SMALL)).batch(5)
    assert torch.equal(first.ids, again.ids)
    assert torch.equal(first.weights, again.weights)
    assert not torch.equal(first.ids, packer.batch(6).ids)


def test_rows_are_whole_documents_back_to_back():
    config = TrainConfig(**{**vars(SMALL), "length": 1500})
    tokenizer = build_tokenizer(config)
    ids = Packer(config, tokenizer).batch(0).ids[0].tolist()
    whole = tokenizer.decode(ids).split(EOS)[:-1]
    assert len(whole) > 3
    for text in whole:
        assert text.startswith(f"{BOS}Question: ")
        for problem in text.removeprefix(BOS).split("\n\n"):
            question, lead, *chain, answer = problem.split("\n")
            assert question.startswith("Question: ")
            assert lead == LEAD
            assert chain
            assert answer.startswith("The answer is ")


def test_questions_weigh_less_than_chains(packer: Packer):
    sample = packer.batch(0)
    text = [packer.encoder.decode([i], skip_special_tokens=False) for i in sample.ids[0].tolist()]
    weights = dict(zip(text, sample.weights[0].tolist(), strict=True))
    assert weights["Question"] == pytest.approx(SMALL.question_weight)
    assert weights[" step"] == 1.0
    assert weights[BOS] == 0.0


def test_loss_is_the_weighted_mean_of_plain_cross_entropy(packer: Packer):
    sample = packer.batch(0)
    logits = build_model(SMALL)(sample.ids[:, :-1]).logits
    by_hand = [
        (weight * -torch.log_softmax(logits[r, t], -1)[sample.ids[r, t + 1]], weight)
        for r in range(2)
        for t, weight in enumerate(sample.weights[r, 1:].tolist())
    ]
    expected = sum(loss for loss, _ in by_hand) / sum(weight for _, weight in by_hand)
    assert loss_of(logits, sample).item() == pytest.approx(expected.item(), rel=1e-5)


def test_learning_rate_warms_up_and_ends_at_zero():
    rates = [learning_rate(SMALL, step) for step in range(SMALL.steps + 1)]
    assert rates[:3] == pytest.approx([SMALL.learning_rate * n / 3 for n in (1, 2, 3)])
    assert max(rates) == pytest.approx(SMALL.learning_rate)
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(0)
