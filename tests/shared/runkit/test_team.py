"""One process is a team of its own; several are told apart by what launchers put into the environment."""

import pytest
import torch
from runkit.errors import UsageError
from runkit.team import Team
from torch import nn


def test_one_process_does_nothing_special():
    team = Team("cpu")
    assert (team.leads, team.rank, team.size, team.device) == (True, 0, 1, torch.device("cpu"))
    module, value = nn.Linear(2, 2), object()
    assert team.wrap(module) is module
    assert team.share(value) is value
    team.check(7)


def test_a_batch_must_be_shared_out_evenly():
    team = Team("cpu")
    team.size = 4
    team.check(8)
    with pytest.raises(UsageError, match="--batch-size 6 cannot be shared by 4 processes"):
        team.check(6)


def test_a_device_that_is_not_there_is_said():
    with pytest.raises(UsageError, match="--device cude"):
        Team("cude")
