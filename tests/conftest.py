"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command lines do: spinning threads starve shared cores
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder of real data sets and models; tests that need it are marked `realdata`."""
    folder = Path(os.environ.get("REASONSCOPE_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("real data absent: set REASONSCOPE_SHARED to the folder that holds data/ and models/")
    return folder
