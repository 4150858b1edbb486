"""Two processes that `torchrun` starts make, byte for byte, the store of one, also when one is killed on the way."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import actkit
import pytest
from actkit.harvest.worker import Worker
from specimens import families

SCRIPT = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    import actkit
    from specimens import families

    folder, rank, die_at = Path(sys.argv[1]), int(os.environ["RANK"]), int(sys.argv[2])
    model = actkit.load(families.tiny_model("llama"))
    passes = 0

    def count(*_):
        global passes
        passes += 1
        if rank == 1 and passes == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    model.hf.register_forward_pre_hook(count)
    # Only the first process needs the data; the others read what it wrote.
    rows = [[3 + (7 * i + j * j) % 290 for j in range(1 + i % 23)] for i in range(60)] if rank == 0 else []
    reduce = ["keep", "mean", "moments", "histogram", actkit.TopK(4, "both"), actkit.Sparse(threshold=1.0, density=1)]
    store = actkit.harvest(model, rows, ["mlp_post.*", "attn_z.0"], reduce=reduce, store=folder, shard_tokens=100,
                           batch_size=4)
    assert len(store["mlp_post.1", "topk"]["rows"]) == 2
    os._exit(0)  # how libraries' own threads end with the interpreter is not what is asked here
    """
)


def test_two_processes_make_the_store_of_one_also_after_a_kill(tmp_path: Path, content):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    killed = _run(*torchrun, str(script), str(tmp_path / "two"), "8")
    assert killed.returncode != 0
    assert "SIGKILL" in killed.stderr
    assert (tmp_path / "two" / "in-progress" / "rank-00001.json").is_file(), "the second process had not got far"
    resumed = _run(*torchrun, str(script), str(tmp_path / "two"), "0")
    alone = _run(str(script), str(tmp_path / "one"), "0", RANK="0")
    for done, size in ((resumed, 2), (alone, 1)):
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"{size} process(es)") == 1, "the first process alone tells the plan"
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    assert sum(name.startswith("tokens-") for name in one) >= 6
    assert two == one


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # One thread in all of them: the number of threads changes how a matrix product is rounded.
    given = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=280, check=False)


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
