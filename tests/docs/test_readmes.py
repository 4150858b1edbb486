"""The examples of the READMEs run; where one names a hub id, the shipped model stands in for it."""

import re
from pathlib import Path

import specimens

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_of_actkit_runs():
    text = (ROOT / "shared" / "actkit" / "README.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert example.count('"Qwen/Qwen2-0.5B"') == 1
    names: dict = {}
    exec(example.replace('"Qwen/Qwen2-0.5B"', repr(str(specimens.tiny_reasoner()))), names)
    assert names["run"]["mlp_post.3"].shape[0] == 2
    assert set(names["slopes"]) == set(names["run"])
    assert names["words"].height == 20
    assert str(names["page"]).count("<span title=") == len(names["run"].tokens(0))
