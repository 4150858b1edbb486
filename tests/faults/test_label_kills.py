"""`label` killed with SIGKILL while it asks, then run again: no answered call is repeated, the tables are the same."""

import random
from pathlib import Path

from cot_neurons.label import label
from cot_neurons.options import LabelOptions

from tests.packages.cot_neurons import label_judge as judge
from tests.packages.cot_neurons import label_subjects as subjects
from tests.shared.llmkit.hurry import hurry
from tests.shared.llmkit.server import PASSING, UNUSABLE, FaultyServer, seeded

KILLS = 3


def _faulty(prompt: str, repetition: int) -> str | None:
    """What passes does so by repetition; what is unusable is so whenever it is asked, so that verdicts are known."""
    passing = tuple(fault for fault in PASSING if fault != "hang")
    return seeded(0.2, passing)(prompt, repetition) or seeded(0.15, UNUSABLE)(prompt, 0)


def _label(options: LabelOptions) -> None:
    hurry()
    label(options)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder / "tables").glob("*.parquet"))}


def test_killed_while_asking_a_server_that_misbehaves(processes, tmp_path: Path):
    model = subjects.save(tmp_path / "planted", background=0.1)
    with FaultyServer(judge.truthful, plan=_faulty) as server:  # the first run also makes the MLflow store
        options = judge.options(tmp_path, model, server.url, out=tmp_path / "calm" / "run")
        _run(processes, options)
        undisturbed = _bytes(options.out)
    rng = random.Random(3)
    with FaultyServer(judge.truthful, delay=0.02, plan=_faulty) as server:
        options = judge.options(tmp_path, model, server.url, concurrency=2)
        died = 0
        for _ in range(KILLS):
            process = processes.Process(target=_label, args=(options,))
            process.start()
            wanted = server.calls + rng.randint(3, 12)
            while process.is_alive() and server.calls < wanted:
                process.join(0.01)
            process.kill()
            process.join()
            died += process.exitcode == -9
        assert died >= KILLS // 2, "hardly any process was killed while it asked: the test would prove nothing"
        _run(processes, options)
        # An answer on its way when the process died was sent, but never heard: at most two per kill.
        assert sum(count - 1 for count in server.answered.values() if count) <= 2 * died
    assert set(undisturbed) == {f"{name}.parquet" for name in ("coverage", "scores", "verdicts", "controls", "labels")}
    disturbed = _bytes(options.out)
    for name, content in undisturbed.items():
        assert disturbed[name] == content, f"{name} differs"


def _run(processes, options: LabelOptions) -> None:
    process = processes.Process(target=_label, args=(options,))
    process.start()
    process.join()
    assert process.exitcode == 0
