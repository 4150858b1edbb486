"""A working folder of its own for every test that runs stages, and word problems to run them on."""

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow store for all tests here: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def workplace(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    for name in ("MLFLOW_RUN_ID", "REASONSCOPE_PARENT_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def problems(workplace: Path) -> Path:
    """Eight small word problems of mixed length in GSM8K's format."""
    rows = [
        {
            "question": f"Ann has {n} apples and buys {n + 1} more{', and looks at them' * (n % 3)}. How many?",
            "answer": f"{n} + {n + 1} = <<{n}+{n + 1}={2 * n + 1}>>{2 * n + 1}\n#### {2 * n + 1}",
        }
        for n in range(2, 10)
    ]
    file = workplace / "problems.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
