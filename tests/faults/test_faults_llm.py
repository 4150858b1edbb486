"""Pipelines that ask a server which fails at every third request, repeats the key it was sent and answers in HTML, with
a model and data full of HTML: every row is done or says why not, the key is nowhere, pages show text as text."""

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.faults.commands import Command
from tests.packages.cot_neurons import label_judge
from tests.packages.expgen import describe_explainer
from tests.shared.llmkit.hurry import hurry
from tests.shared.llmkit.server import PASSING, UNUSABLE, Body, FaultyServer
from tests.shared.runkit.page_reader import Node, read

KEY, IN_QUERY, PASSWORD = "sk-planted-4711-key", "planted-0815-query", "planted-1234-password"
MARKUP = """</script><script>alert(1)</script>"><img src=x onerror="alert(2)"><b onclick='alert(3)'>"""
MODEL = """"><img src=x onerror=alert(4)>"""
"""The name of the model's folder."""
_SOON = tuple(fault for fault in PASSING if fault != "hang")
ANSWERS = {
    "expgen": ("--explainer", describe_explainer.truthful, "description", "descriptions"),
    "cot-neurons": ("--judge", label_judge.truthful, "rationale", "verdicts"),
}
"""The option by which a pipeline asks, what a truthful server says, the field that holds words, the table of it."""


def _faults(prompt: str, repetition: int) -> str | None:
    """Three of ten requests fail: most pass when they are repeated, some questions never get an answer."""
    lost = random.Random(prompt).random()
    if lost < 0.15:
        return "400" if lost < 0.1 else "malformed"
    dice = random.Random(f"{repetition}/{prompt}")
    return dice.choice((*_SOON, *UNUSABLE)) if dice.random() < 0.2 else None


def _telling(pipeline: str) -> Callable[[Body], str]:
    """The truth, with the key and markup in it."""
    _, truthful, field, _ = ANSWERS[pipeline]

    def answer(body: Body) -> str:
        told = json.loads(truthful(body))
        return json.dumps({**told, field: f"{told[field]} {KEY} {MARKUP}"})

    return answer


def _marked_up() -> None:
    """The model's folder has markup for a name, and the data hold some. Attempts follow each other fast."""
    hurry()
    if not Path("model").is_dir():
        return
    Path("model").rename(MODEL)
    for name, field in (("texts.jsonl", "text"), ("problems.jsonl", "question")):
        if Path(name).is_file():
            rows = [json.loads(line) for line in Path(name).read_text().splitlines()]
            marked = [{**row, field: f"{row[field]} {MARKUP}" if i % 3 else row[field]} for i, row in enumerate(rows)]
            Path(name).write_text("".join(json.dumps(row) + "\n" for row in marked))


def _everything(place: Path) -> Iterator[tuple[Path, str]]:
    """All that is written below a folder: bytes as text, and tables, which are compressed."""
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        yield path, path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".parquet":
            yield path, str(pl.read_parquet(path).to_dicts())


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        if isinstance(child, Node):
            yield from _nodes(child)


def _shows_text_as_text(page: Path) -> None:
    html = page.read_text()
    for node in _nodes(read(html)):
        assert not any(name.startswith("on") for name in node.attributes), node.attributes
        assert node.name != "img" or (node.attributes["src"] or "").startswith("data:image/"), node.attributes
        if node.name == "script":
            assert "alert(1)</script>" not in node.text
            assert not node.text.startswith("alert")
    assert "<img src=x" not in html
    assert not re.search(r"<script>\s*alert", html)


@pytest.mark.parametrize("pipeline", ANSWERS)
def test_a_faulty_server_that_tells_the_key(processes, tmp_path: Path, figures, pipeline: str):
    option, _, field, name = ANSWERS[pipeline]
    # The store is a file where keys could be looked for; one pipeline does for it.
    kept = {"REASONSCOPE_MLFLOW": "on", "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    variables = {"PARROT_KEY": KEY, **(kept if pipeline == "expgen" else {"REASONSCOPE_MLFLOW": "off"})}
    with FaultyServer(_telling(pipeline), plan=_faults, complaint=f"no more calls for {KEY} {MARKUP}") as server:
        addresses = (server.url.replace("http://", f"http://me:{PASSWORD}@"), f"{server.url}?api_key={IN_QUERY}")
        asked = ("--model", MODEL, option, "parrot", "--key-variable", "PARROT_KEY", "--base-url")
        refused, ended = (
            Command(
                processes, pipeline, tmp_path / "place", _marked_up, variables=variables, more=(*asked, address)
            ).ended()
            for address in addresses
        )  # fmt: skip
        assert refused.code == 2, refused.said[-3000:]
        assert ended.code == 0, ended.said[-3000:]
        assert f"Bearer {KEY}" in server.keys
        assert 1 - sum(server.answered.values()) / server.calls > 0.1
    (table,) = (tmp_path / "place").glob(f"runs/*/tables/{name}.parquet")
    found = pl.read_parquet(table)
    assert "[PARROT_KEY]" in "".join(found[field].drop_nulls())
    lost = found.filter(pl.col("status").is_in(["error", "invalid"]))
    assert len(lost)
    assert lost.select((pl.col("reason" if "reason" in found.columns else field).str.len_chars() > 0).all()).item()
    for secret in (KEY, IN_QUERY, PASSWORD):
        assert [str(path) for path, content in _everything(tmp_path) if secret in content] == []
        assert secret not in ended.said + refused.said
    pages = list((tmp_path / "place").glob("runs/*/report.html"))
    assert len(pages) >= 2
    for page in pages:
        _shows_text_as_text(page)
    assert any("alert(4)" in page.read_text() for page in pages)
    figures(
        "LLM server that fails, and tells the key", f"`{pipeline}` pipeline",
        tried="3 of 10 requests fail, answers and complaints repeat the key; other keys in the address and its query",
        held="every row is done or has its reason; no key in any file, table, cache, MLflow store or line",
    )  # fmt: skip
    figures(
        "Markup in text", f"`{pipeline}` pipeline",
        tried="script and image tags in the model's name, the data, the LLM's answers and complaints",
        held="every page shows them as text",
    )  # fmt: skip
