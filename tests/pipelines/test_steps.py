"""What a pipeline keeps of its stages: which they were, its page with its findings, its pictures and numbers."""

from pathlib import Path

import pytest
import runkit
from cot_neurons.options import PromptsOptions
from cot_neurons.prompts import prompts
from reasonscope.options import DemoOptions
from reasonscope.steps import Steps, findings, found, run_of
from runkit import manifest, runs
from runkit.errors import ReasonscopeError
from runkit.page import document
from runkit.page.markup import element


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REASONSCOPE_MLFLOW", "off")


def _asked(variant: str) -> PromptsOptions:
    return PromptsOptions(variant=variant, shots=1)


def test_what_it_comes_to_is_on_its_own_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "shown.png").write_bytes(b"a picture")
    with runkit.stage("pipelines.demo", DemoOptions()) as run:
        steps = Steps(run, total=3)
        first = steps(prompts, _asked("cot"))
        other, again = steps.together([(prompts, _asked("text_only")), (prompts, _asked("cot"))], 1)
        page = document.page("All", "of it", ["a < b", element("b", "bold")], [])
        folder = steps.conclude(page, {"answer": 42.0}, [tmp_path / "shown.png"])
    told = capsys.readouterr().err
    assert "pipelines.demo: 1 of 3: cot-neurons.prompts\n" in told
    assert "pipelines.demo: 2 to 3 of 3: cot-neurons.prompts\n" in told
    assert first == again != other
    assert [each.resolve() for each in run_of(folder, "cot-neurons.prompts")] == [first, other, first]
    assert run_of(folder, "cot-neurons.infer") == []
    assert findings(folder) == ["a &lt; b", "<b>bold</b>"]
    assert runs.results(folder) == {"answer": 42.0}
    assert found(first, "prompts", "no such") == {"prompts": 1.0}
    kept = manifest.Manifest.read(folder)
    assert kept is not None
    assert {"report.html", "figures/shown.png", "tables/stages.parquet"} <= set(kept.files)


def _nothing(_: object) -> None:
    """As a stage in a process that keeps no record."""


def test_a_stage_that_leaves_no_run_is_no_stage_of_a_pipeline():
    with (
        pytest.raises(ReasonscopeError, match="nothing has left no run"),
        runkit.stage("pipelines.demo", DemoOptions()) as run,
    ):
        Steps(run, total=1)(_nothing, DemoOptions())
