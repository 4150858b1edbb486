"""Fixtures every test may use."""

import atexit
import gc
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command lines do: spinning threads starve shared cores
if "PYTEST_XDIST_WORKER" in os.environ:  # there are as many of these as cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # a second costs tests of small tables 8 % of their time
gc.disable()  # until all is imported
settings.register_profile("patient", deadline=None)  # a busy machine is no fault
settings.load_profile("patient")
ROOT = Path(__file__).resolve().parents[1]
STAGES = ["reasonscope.chain", "reasonscope.describing", "reasonscope.grokking", "reasonscope.recall"]
SLOW = [
    "mlflow.store.tracking.sqlalchemy_store", "alembic.autogenerate", "alembic.ddl.sqlite", "openai.resources.chat",
    "pandera.polars", "hypothesis", "matplotlib.pyplot", "matplotlib.backends.backend_agg",
    "transformers.models.llama.modeling_llama", "transformers.models.gpt2.modeling_gpt2", "specimens.families",
    "tests.faults.pipelines",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that fork go first, so that one of several test processes has them all: its server starts slowly."""
    forking = {item.path for item in items if "processes" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in forking)


def pytest_collection_finish() -> None:
    """What thousands of tests and their modules are made of is not looked through for garbage again and again."""
    from tests import lean

    lean.begin()
    gc.collect()
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)  # libraries that count what they leave behind complain otherwise


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder of real data sets and models; tests that need it are marked `realdata`."""
    folder = Path(os.environ.get("REASONSCOPE_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("real data absent: set REASONSCOPE_SHARED to the folder that holds data/ and models/")
    return folder


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServerContext]:
    """Processes forked from one that has done the slow imports.

    There is one such server per test process, and its children have the environment it was started with: so one
    fixture for all.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.unswept", *STAGES, *SLOW, "tests.frozen"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")
        patch.setenv("OMP_NUM_THREADS", "1")
        first = context.Process(target=print)  # starts the server
        first.start()
        first.join()
        yield context


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that failed are repeated at once, unless the server asks for a wait."""
    from llmkit import wire

    from tests.shared.llmkit.hurry import hurried

    monkeypatch.setattr(wire, "pause", hurried)
