"""What edits of type tokens change, against plain Hugging Face on edited ids and embeddings, and by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from memreason.attending import causal, causes
from memreason.attention import attention
from memreason.options import AttentionOptions
from runkit.record import StageRun
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.packages.memreason import made

EDITS = ("none", "ablate", "swap")


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """Traces and a student. Figures are drawn in just one test, because that takes longer than all the rest."""
    if "under_each_edit" not in request.node.name:
        monkeypatch.setattr(StageRun, "figure", lambda *_: None)
    made.traces(workplace / "data")
    made.student(workplace / "taught")
    return workplace


def caused(place: Path, out: str = "caused", **more: Any) -> pl.DataFrame:
    given = {"data": str(place / "data"), "model": str(place / "taught"), "draws": 2, "limit": 100} | more
    return pl.read_parquet(attention(AttentionOptions(out=place / out, **given)) / "tables/causes.parquet")


class Plain:
    """The student as Hugging Face has it, one text at a time."""

    def __init__(self, folder: Path) -> None:
        self.hf = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.new = [i for t, i in self.tokenizer.get_added_vocab().items() if t.endswith(("_0>", "_1>"))]

    def case(self, item: Any, step: int, edit: str) -> tuple[list[int], int, torch.Tensor]:
        """Ids up to the end of the step's text, where that starts, and embeddings."""
        text = f"Question: {item.trace.question} \n "
        for number, (kind, line) in enumerate(item.trace.steps[: step + 1]):
            told = {"memory": "reason", "reason": "memory"}[kind] if (number, edit) == (step, "swap") else kind
            text += f"<general_0><{told}_0><{told}_1>"
            start = len(self.tokenizer(text)["input_ids"])
            text += f"{line} \n "
        ids = self.tokenizer(text)["input_ids"]
        rows = self.hf.get_input_embeddings().weight.detach()
        embeds = rows[ids].clone()
        if edit == "ablate":
            rest = [i for i in range(len(self.tokenizer)) if i not in self.new]
            embeds[start - 2 : start] = rows[rest].mean(0)
        return ids, start, embeds[None]

    @torch.no_grad()
    def logp(self, item: Any, step: int, edit: str) -> float:
        ids, start, embeds = self.case(item, step, edit)
        scores = self.hf(inputs_embeds=embeds).logits[0].log_softmax(-1)
        return float(np.mean([scores[at - 1, ids[at]] for at in range(start, len(ids))]))

    @torch.no_grad()
    def said(self, item: Any, step: int, edit: str, most: int) -> str:
        _, start, embeds = self.case(item, step, edit)
        new = self.hf.generate(inputs_embeds=embeds[:, :start], do_sample=False, max_new_tokens=most)[0]
        return self.tokenizer.decode(new, skip_special_tokens=True).partition("\n")[0].strip()


def test_worth_of_a_steps_text_is_that_of_plain_hugging_face_under_each_edit(place: Path):
    found = caused(place, batch_size=7)
    plain = Plain(place / "taught/student")
    assert found.select("edit", "kind").rows() == [(edit, kind) for edit in EDITS for kind in ("memory", "reason")]
    for row in found.iter_rows(named=True):
        steps = (0, 1) if row["kind"] == "memory" else (2,)
        logp = np.array([[plain.logp(item, step, row["edit"]) for step in steps] for item in made.items()])
        before = np.array([[plain.logp(item, step, "none") for step in steps] for item in made.items()])
        assert row["n"] == logp.size
        assert row["logp"] == pytest.approx(logp.mean(), abs=1e-5)
        assert row["change"] == pytest.approx((logp - before).mean(), abs=1e-5)
        assert row["flipped"] is None
        if row["edit"] != "none":
            assert row["low"] < row["change"] < row["high"]
            spread = (logp - before).mean(axis=1).std() / np.sqrt(len(logp))
            assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * spread, rel=0.25)


def test_what_is_written_instead_is_plain_greedy_decoding_and_is_judged_by_the_world(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    plain, seen = Plain(place / "taught/student"), {}

    class World:
        def check(self, question: str, steps: list[Any]) -> list[Any]:
            seen.setdefault((question, len(steps) - 1), []).append(steps[-1].text)
            return [SimpleNamespace(content=content(step.text)) for step in steps]

    def content(text: str) -> str:
        return ("memory", "reason", "other")[len(text) % 3]

    monkeypatch.setattr(causal, "_world", lambda path: World())
    found = caused(place, limit=4, batch_size=36)
    wrong, n = dict.fromkeys(found.select("edit", "kind").rows(), 0), 0
    items = [item for item in made.items() if (item.trace.question, 0) in seen]
    most = causal._ROOM + 1 + max(len(step.text.split()) for item in items for step in item.trace.steps)
    for item in items:
        for step, kind in enumerate(item.trace.kinds()):
            said = {edit: plain.said(item, step, edit, most) for edit in EDITS}
            assert sorted(seen[item.trace.question, step]) == sorted(said.values())
            for edit, text in said.items():
                n += 1
                wrong[edit, kind] += content(text) == {"memory": "reason", "reason": "memory"}[kind]
    assert n == 36
    for row in found.iter_rows(named=True):
        assert row["flipped"] == pytest.approx(wrong[row["edit"], row["kind"]] / row["n"])


def test_one_kind_cannot_be_swapped(place: Path):
    made.student(place / "uniform", arm="uniform")
    found = caused(place, "one", model=str(place / "uniform"), limit=3)
    assert found["edit"].unique().sort().to_list() == ["ablate", "none"]


def test_intervals_are_over_traces_not_steps():
    """Steps of a trace that move together are one observation: four times the steps narrow nothing."""
    changes = np.random.default_rng(0).normal(size=30)

    def width(copies: int) -> float:
        rows = [
            {"item": item, "step": step, "kind": "memory", "edit": edit, "logp": -9 + change * (edit == "swap"),
             "content": "reason" if edit == "swap" else "memory"}
            for item, change in enumerate(changes) for step in range(copies) for edit in ("none", "swap")
        ]  # fmt: skip
        found = causes.table(pl.DataFrame(rows), seed=0)
        before, after = found.to_dicts()
        assert (before["change"], before["low"], before["flipped"]) == (0, None, 0)
        assert after["change"] == pytest.approx(changes.mean())
        assert after["flipped"] == 1
        return after["high"] - after["low"]

    assert width(4) == pytest.approx(width(1))
