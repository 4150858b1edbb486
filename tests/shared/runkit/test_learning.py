"""A learner that is put back goes on as if nothing had happened; batches hold every row once, and like lengths."""

from pathlib import Path

import pytest
import torch
from runkit.learning import Checkpoints, batches, put_back, tensors
from runkit.parts import Parts
from torch import Tensor, nn


class Line:
    """y = wx + b by Adam, one seeded point per step."""

    def __init__(self) -> None:
        self.step, self.layer = 0, nn.Linear(1, 1)
        with torch.no_grad():
            self.layer.weight.fill_(1.0), self.layer.bias.fill_(0.0)
        self.optimizer = torch.optim.AdamW(self.layer.parameters(), lr=0.1)

    def advance(self) -> Tensor:
        x = torch.randn(4, 1, generator=torch.Generator().manual_seed(self.step))
        loss = (self.layer(x) - 3 * x - 1).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    def state(self) -> dict[str, Tensor]:
        return tensors(dict(self.layer.named_parameters()), self.optimizer)

    def restore(self, step: int, found: dict[str, Tensor]) -> None:
        self.step = step
        put_back(dict(self.layer.named_parameters()), self.optimizer, found)


def _advanced(line: Line, kept: Checkpoints, until: int) -> None:
    while line.step < until:
        count = min(until, line.step + 3) - line.step
        losses = [line.advance() for _ in range(count)]
        kept.save(line, [0.1] * count, losses)


def _kept(folder: Path, noted: list[str]) -> Checkpoints:
    return Checkpoints(Parts(folder, noted.append))


def test_a_learner_that_is_put_back_goes_on_as_it_would_have(tmp_path: Path):
    noted: list[str] = []
    calm, rough = Line(), Line()
    _advanced(calm, _kept(tmp_path / "calm", noted), 12)
    _advanced(rough, _kept(tmp_path / "rough", noted), 6)
    rough.advance()  # lost: nothing was saved after it
    again, kept = Line(), _kept(tmp_path / "rough", noted)
    kept.resume(again, noted.append)
    assert again.step == 6
    _advanced(again, kept, 12)
    assert all(torch.equal(a, b) for a, b in zip(again.layer.parameters(), calm.layer.parameters(), strict=True))
    curve = kept.curve()
    assert curve["step"].to_list() == list(range(1, 13))
    assert curve.equals(_kept(tmp_path / "calm", noted).curve())
    assert noted == []


def test_a_damaged_state_is_named_and_the_one_before_is_taken(tmp_path: Path):
    noted: list[str] = []
    _advanced(Line(), _kept(tmp_path / "run", noted), 9)
    states = sorted(path.name for path in (tmp_path / "run").glob("state-*"))
    assert states == ["state-6.safetensors", "state-9.safetensors"]  # older ones are of no use
    with (tmp_path / "run/state-9.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    again, kept = Line(), _kept(tmp_path / "run", noted)
    kept.resume(again, noted.append)
    assert again.step == 6
    assert "state-9.safetensors is damaged" in noted[0]
    _advanced(again, kept, 9)
    assert kept.curve()["step"].to_list() == list(range(1, 10))


def test_nothing_to_go_on_from_is_a_fresh_start(tmp_path: Path):
    line = Line()
    _kept(tmp_path / "run", []).resume(line, print)
    assert line.step == 0


@pytest.mark.parametrize(("rows", "size"), [(1, 4), (7, 4), (384, 8)])
def test_batches_hold_every_row_once(rows: int, size: int):
    lengths = [(37 * number) % 101 for number in range(rows)]
    found = batches(lengths, size, (0, 1))
    assert sorted(row for batch in found for row in batch) == list(range(rows))
    assert sorted(map(len, found))[1:] == [size] * (len(found) - 1)
    assert found == batches(lengths, size, (0, 1))
    if rows == 384:
        assert found != batches(lengths, size, (0, 2))
        spread = [max(lengths[row] for row in batch) - min(lengths[row] for row in batch) for batch in found]
        assert max(spread) < 30  # of 101: rows of one batch are alike
        longest = [max(lengths[row] for row in batch) for batch in found]
        assert longest != sorted(longest)  # but batches come in any order
