"""`infer` and `discover` killed with SIGKILL at random, then started again until done: the same bytes in the end."""

import json
import random
import time
from pathlib import Path

import pytest
from cot_neurons.discover import discover
from cot_neurons.infer import infer
from cot_neurons.options import DiscoverOptions, InferOptions
from specimens import families

KILLS = 20  # per test, spread over both stages
SHAPE = families.Shape(layers=4, d_model=64, d_mlp=128, context=256)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("given")
    data = folder / "problems.jsonl"
    asked = [f"Tom has {n} pens and finds {n * 2}. How many{' now' * (n % 4)}?" for n in range(2, 42)]
    rows = [{"question": question, "answer": f"#### {3 * n}"} for n, question in enumerate(asked, start=2)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(families.save("llama", folder / "model", SHAPE)), str(data)


def _stages(given: tuple[str, str], root: Path):
    model, data = given
    common = {"model": model, "batch_size": 2, "max_new_tokens": 24}
    return [
        (infer, InferOptions(**common, data=data, out=root / "infer")),
        (discover, DiscoverOptions(**common, items=str(root / "infer"), out=root / "discover", k=5, promoted=5)),
    ]


def _bytes(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.glob("*/tables/*.parquet"))}


def _run(processes, function, argument) -> float:
    process = processes.Process(target=function, args=(argument,))
    start = time.monotonic()
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - start


def test_twenty_kills_leave_no_trace(processes, given: tuple[str, str], tmp_path: Path):
    rng = random.Random(20)
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    infer_once = _stages(given, tmp_path / "first")[0]
    _run(processes, *infer_once)  # the first run makes the MLflow store
    lasted = [_run(processes, stage, options) for stage, options in _stages(given, calm)]

    died = 0
    for (stage, options), whole in zip(_stages(given, rough), lasted, strict=True):
        for _ in range(KILLS // 2):
            process = processes.Process(target=stage, args=(options,))
            process.start()
            time.sleep(rng.uniform(0.05, 0.9) * whole)
            process.kill()
            process.join()
            died += process.exitcode == -9
            done = (options.out / "manifest.json").exists()  # then have it all done again, and go on killing
            options = options.model_copy(update={"resume": not done})
        _run(processes, stage, options.model_copy(update={"resume": True}))

    assert died >= KILLS // 2, "hardly any process was still running when it was killed: the test would prove nothing"
    undisturbed, disturbed = _bytes(calm), _bytes(rough)
    assert list(disturbed) == list(undisturbed)
    assert len(undisturbed) == 4
    for name, content in undisturbed.items():
        assert disturbed[name] == content, f"{name} differs"
