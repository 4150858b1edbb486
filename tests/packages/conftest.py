"""A working folder of its own for every test that runs stages."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tests import figures


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """MLflow, and how figures look, are left out where tests do not look: `recorded` and `drawn` bring them back.

    Disks are not waited for: no test here cuts the power, and what is written outlives a process without that.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REASONSCOPE_MLFLOW", "off")
        patch.setattr(Figure, "savefig", figures.coarse)
        patch.setattr(os, "fsync", lambda _file: None)
        yield


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are recorded in MLflow, for the tests that look there."""
    monkeypatch.setenv("REASONSCOPE_MLFLOW", "on")


@pytest.fixture
def drawn() -> Iterator[None]:
    """Figures as users see them, for the tests that look at them."""
    with figures.drawn():
        yield


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
