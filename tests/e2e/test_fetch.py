"""How README says to name a bare clone: MLflow itself clones it, and leaves it as it is."""

import re
from pathlib import Path

import pytest
from git import Repo
from mlflow.projects import utils

ROOT = Path(__file__).resolve().parents[2]
FILES = ["MLproject", "python_env.yaml"]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A bare clone of a repository with this project's MLproject."""
    source = Repo.init(tmp_path / "source", initial_branch="main")
    for name in FILES:
        (tmp_path / "source" / name).write_bytes((ROOT / name).read_bytes())
    source.index.add(FILES)
    source.index.commit("the project")
    Repo.clone_from(str(tmp_path / "source"), str(tmp_path / "reasonscope.git"), bare=True)
    return tmp_path / "reasonscope.git"


@pytest.mark.parametrize("version", [None, "main"])
def test_mlflow_clones_a_bare_repository_on_this_machine(bare: Path, version: str | None):
    (told,) = re.findall(r"mlflow run (file:///\S+)", (ROOT / "README.md").read_text())
    assert Path(told).name == bare.stem
    before = sorted(bare.rglob("*"))
    work_dir = utils.fetch_and_validate_project(
        f"file://{bare.with_name(Path(told).name)}", version, "pipelines.demo", {}
    )
    assert Path(work_dir) != bare
    assert "pipelines.demo" in utils.load_project(work_dir)._entry_points
    assert sorted(bare.rglob("*")) == before
