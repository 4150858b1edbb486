"""Two processes make, byte for byte, the store of one, also when one is killed on the way."""

import itertools
import os
import signal
from pathlib import Path
from typing import NamedTuple

import actkit
import pytest
from actkit.harvest.worker import Worker
from specimens import families

from tests.teams import as_a_team, team

SETTINGS = {"shard_tokens": 100, "batch_size": 4, "quiet": True}


class Job(NamedTuple):
    folder: Path
    die_at: int = 0


def _harvest(job: Job) -> None:
    """In a process of its own; the second one of a team ends itself at a forward pass."""
    rank = int(os.environ["RANK"])
    model = actkit.load(families.tiny_model("llama"))
    passes = itertools.count(1)

    def count(*_: object) -> None:
        if next(passes) == job.die_at and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    model.hf.register_forward_pre_hook(count)
    # Only the first process needs the data; the others read what it wrote.
    rows = [[3 + (7 * i + j * j) % 290 for j in range(1 + i % 23)] for i in range(60)] if rank == 0 else []
    reduce = ["keep", "mean", "moments", "histogram", actkit.TopK(4, "both"), actkit.Sparse(threshold=1.0, density=1)]
    store = actkit.harvest(model, rows, ["mlp_post.*", "attn_z.0"], reduce=reduce, store=job.folder, **SETTINGS)
    assert len(store["mlp_post.1", "topk"]["rows"]) == 2
    os._exit(0)  # how libraries' own threads end with the interpreter is not what is asked here


def test_two_processes_make_the_store_of_one_also_after_a_kill(tmp_path: Path, content, processes):
    first, second = team(processes, 2, tmp_path, _harvest, Job(tmp_path / "two", die_at=8))
    second.join()
    first.kill()  # as a launcher does when one of its processes dies
    first.join()
    assert second.exitcode == -signal.SIGKILL
    assert (tmp_path / "two" / "in-progress" / "rank-00001.json").is_file(), "the second process had not got far"
    as_a_team(processes, 2, tmp_path, _harvest, Job(tmp_path / "two"))
    as_a_team(processes, 1, tmp_path, _harvest, Job(tmp_path / "one"))
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    assert sum(name.startswith("tokens-") for name in one) >= 6
    assert two == one


def test_another_number_of_processes_is_refused(tmp_path: Path, monkeypatch):
    model = actkit.load(families.tiny_model("llama"))
    settings = {"reduce": "mean", "store": tmp_path, "quiet": True, "shard_tokens": 2}
    real = Worker.run
    monkeypatch.setattr(
        Worker, "run", lambda worker, share: real(worker, share[:1]) or pytest.fail("one shard is done")
    )
    with pytest.raises(pytest.fail.Exception, match="one shard is done"):
        actkit.harvest(model, [[5, 6], [7, 8]], "embed", **settings)
    claim = tmp_path / "in-progress" / "claim.json"
    claim.write_text(claim.read_text().replace('"processes": 1', '"processes": 2'))
    with pytest.raises(actkit.StoreError, match=r"begun by 2 process\(es\), and this is a run of 1"):
        actkit.harvest(model, [[5, 6], [7, 8]], "embed", **settings)
