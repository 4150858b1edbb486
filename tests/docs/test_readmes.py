"""The examples of the READMEs run; where one names a hub id, the shipped model stands in for it."""

import re
from pathlib import Path

import pytest
import specimens

ROOT = Path(__file__).resolve().parents[2]


def _executed(page, hub_id):
    """What the page's only example leaves in its names."""
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert example.count(hub_id) == 1
    names: dict = {}
    exec(example.replace(hub_id, repr(str(specimens.tiny_reasoner()))), names)
    return names


def test_the_example_of_the_project_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = _executed(ROOT / "README.md", '"Qwen/Qwen2.5-0.5B"')
    assert not names["run"]["mlp_post.3"][..., 17].any()
    grid = names["grid"]
    assert (grid.clean, grid.corrupt) == (pytest.approx(1, abs=0.1), pytest.approx(0, abs=0.1))
    assert float(grid.effect.max()) == pytest.approx(1, abs=0.05)
    assert names["store"].table("mlp_post.3")["unit"].n_unique() == names["model"].dims.d_mlp


def test_the_example_of_actkit_runs():
    names = _executed(ROOT / "shared" / "actkit" / "README.md", '"Qwen/Qwen2-0.5B"')
    assert names["run"]["mlp_post.3"].shape[0] == 2
    assert set(names["slopes"]) == set(names["run"])
    assert names["words"].height == 20
    assert str(names["page"]).count("<span title=") == len(names["run"].tokens(0))


def test_the_figures_of_the_footguns_are_what_their_script_prints(capsys):
    page = (ROOT / "docs" / "footguns.md").read_text("utf-8")
    (script, printed) = re.search(r"```python\n(.*?)```\s+```text\n(.*?)```", page, re.DOTALL).groups()
    exec(script, {})
    told, here = ([int(each) for each in re.findall(r"\d+", text)] for text in (printed, capsys.readouterr().out))
    assert here == pytest.approx(told, rel=0.01)  # another processor rounds otherwise
