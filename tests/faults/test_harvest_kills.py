"""`harvest` kills itself with SIGKILL, before or after any write, rename, deletion or forward pass; the same call again
goes on, and the store ends with the same bytes as one never disturbed."""

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import actkit
import pytest
from actkit.harvest import files
from specimens import families

POINTS = 10
SHARD_TOKENS, BATCH = 120, 3
REDUCE = ["keep", "moments", "histogram", actkit.TopK(4, "both"), actkit.Sparse(top=2)]


class Fate:
    """Counts what the process does, and ends it at one of these events."""

    def __init__(self, end: int | None) -> None:
        self.end = end
        self.events = 0
        self.kinds: Counter[str] = Counter()

    def watch(self, owner: object, name: str, kind: str, torn: Callable[[Path], None] | None = None) -> None:
        """Count calls of `owner.name` twice, before and after; `torn` spoils what it wrote if that is the end."""
        real = getattr(owner, name)

        def watched(*args, **kwargs):
            self.kinds[kind] += 1
            self._event()
            result = real(*args, **kwargs)
            if torn is not None and self.events + 1 == self.end:
                torn(Path(args[1]))
            self._event()
            return result

        setattr(owner, name, watched)

    def _event(self) -> None:
        self.events += 1
        if self.events == self.end:
            os.kill(os.getpid(), signal.SIGKILL)


def _tear(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _harvest(folder: Path, end: int | None, told: Path | None = None, k: int = 4, resume: bool = True) -> None:
    """Runs in a process of its own."""
    model = actkit.load(families.tiny_model("llama"))
    rng = random.Random(5)
    rows = [[rng.randrange(3, 300) for _ in range(rng.randint(1, 30))] for _ in range(36)]
    fate = Fate(end)
    fate.watch(files, "save_file", "tensors", _tear)
    fate.watch(Path, "write_text", "json")
    fate.watch(Path, "replace", "rename")
    fate.watch(Path, "unlink", "deletion")
    fate.watch(model.hf, "forward", "forward")
    reduce = [actkit.TopK(k, "both") if isinstance(r, actkit.TopK) else r for r in REDUCE]
    settings = {"reduce": reduce, "shard_tokens": SHARD_TOKENS, "batch_size": BATCH, "resume": resume, "quiet": True}
    actkit.harvest(model, rows, ["mlp_post.*", "attn_z.0"], store=folder, **settings)
    if told is not None:
        told.write_text(json.dumps({"events": fate.events, "forwards": fate.kinds["forward"]}))


@pytest.fixture(scope="module")
def start(processes):
    """Run `_harvest` in a process of its own; gives its exit code."""

    def run(*args: object, **kwargs: object) -> int | None:
        process = processes.Process(target=_harvest, args=args, kwargs=kwargs)
        process.start()
        process.join()
        return process.exitcode

    return run


def _content(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.fixture(scope="module")
def calm(start, tmp_path_factory) -> tuple[dict[str, bytes], dict[str, int]]:
    """Bytes of an undisturbed store, and how many events and forward passes it took."""
    folder = tmp_path_factory.mktemp("calm")
    assert start(folder / "store", None, folder / "told.json") == 0
    content = _content(folder / "store")
    assert sum(name.startswith("tokens-") for name in content) >= 4
    return content, json.loads((folder / "told.json").read_text())


def test_killed_at_any_point_it_goes_on_to_the_same_bytes(start, calm, tmp_path: Path):
    content, took = calm
    most_batches = 1 + SHARD_TOKENS // BATCH
    for end in random.Random(11).sample(range(1, took["events"] + 1), POINTS):
        folder, told = tmp_path / str(end), tmp_path / f"{end}.json"
        assert start(folder, end) == -signal.SIGKILL
        assert start(folder, None, told) == 0
        assert _content(folder) == content, f"killed at event {end} of {took['events']}"
        assert json.loads(told.read_text())["forwards"] <= took["forwards"] + most_batches


def test_late_kills_redo_one_shard_at_most(start, calm, tmp_path: Path):
    content, took = calm
    end = took["events"] * 2 // 3
    assert start(tmp_path / "store", end) == -signal.SIGKILL
    assert start(tmp_path / "store", None, tmp_path / "told.json") == 0
    assert _content(tmp_path / "store") == content
    assert json.loads((tmp_path / "told.json").read_text())["forwards"] < took["forwards"] * 2 // 3


def test_killed_again_and_again_it_still_gets_there(start, calm, tmp_path: Path):
    content, took = calm
    rng, kills = random.Random(12), 0
    while (code := start(tmp_path / "store", rng.randint(1, took["events"] // 2))) != 0:
        assert code == -signal.SIGKILL
        kills += 1
        assert kills < 60
    assert kills >= 3
    assert _content(tmp_path / "store") == content


def test_starting_anew_over_a_finished_store_may_be_killed_too(start, calm, tmp_path: Path):
    content, took = calm
    for end in random.Random(13).sample(range(1, took["events"]), 2):
        folder = tmp_path / str(end)
        assert start(folder, None, k=7) == 0
        (folder / "note.txt").write_text("mine")
        assert start(folder, end, resume=False) == -signal.SIGKILL
        assert start(folder, None, resume=False) == 0
        assert _content(folder) == {**content, "note.txt": b"mine"}
