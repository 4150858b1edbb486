"""The page says what the tables say, shows what features did over the texts, and runs nothing that a text holds."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
import runkit
import torch
from expgen import tables
from expgen.options import ReportOptions
from expgen.pages.evidence import Evidence, Labels
from expgen.pages.page import page
from expgen.report import report
from runkit import Options
from runkit.errors import UsageError
from specimens import families

from tests.packages.expgen import made, told
from tests.shared.runkit.page_reader import Node, read

HOSTILE = "</script><img src=x onerror=alert(1)> <!-- red"
TEXTS = {
    "train": ["the red car & a \"blue\" hat", "a blue 🙂 bird sings", HOSTILE, "no colour here, no"],
    "valid": ["a red hat", "the blue sea", "nothing"],
    "test": ["red", "blue", "grey stones"],
}  # fmt: skip
FEATURES = [made.on("red"), made.on("blue", negative=True), lambda words: [0.0] * len(words), made.on("here")]


def say(row: told.Row) -> list[told.Row]:
    if not row["alive"]:
        return [{"status": "silent"}]
    if row["neuron"] == 3:
        return [{"status": "error", "reason": "timed out <1>"}]
    return [{"description": f"<b>word</b> {row['neuron']}{row['polarity']}"}, {"description": "another"}]


def score(row: told.Row) -> float | None:
    return {"0+": 0.75, "0-": None, "1+": -0.5, "1-": 0.5}[f"{row['neuron']}{row['polarity']}"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, store: str) -> ReportOptions:
    place = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store)
        exemplars = made.store(place / "ex", TEXTS, FEATURES, layer=2)
        descriptions = told.described(place / "de", exemplars, say)
        scores = told.scored(place / "sc", exemplars, descriptions, score)
    return ReportOptions(exemplars=str(exemplars), descriptions=str(descriptions), scores=str(scores), out=place / "re")


@pytest.fixture(scope="module")
def tree(asked: ReportOptions) -> Node:
    return read(page(Evidence.read(asked), 2000))


def data_of(tree: Node) -> dict[str, Any]:
    return orjson.loads(tree.one("script", id="data").text)


def test_what_is_told_on_top(tree: Node):
    header = re.sub(r"\s+", " ", tree.one("header").text)
    assert "4 features in 1 layer" in header
    assert "6 of 8 ever do" in header
    assert "4 of them have a description" in header
    assert "Median score by simulation of 3 descriptions: 0.50 (null descriptions: another feature’s 0, " in header
    assert "66.7 % of these beat every null" in header
    assert tree.rows("outcomes") == [["described", "2", "2"], ["never fires so", "1", "1"], ["no answer", "1", "1"]]
    assert tree.rows("missing") == [["timed out <1>", "2"]]
    assert tree.rows("scores-simulation") == [
        ["chosen", "", "0.50", "[0, 0.62]", "3"],
        ["another feature’s", "", "0", "[0, 0]", "4"],
        ["token look-up", "", "0.25", "[0.25, 0.25]", "4"],
    ]
    best, worst = (each.one("tbody").all("tr") for each in tree.all("table", class_="told"))
    assert [row.one("th").text for row in best] == ["mlp_post.2.0+", "mlp_post.2.1-"]
    assert [row.one("th").text for row in worst] == ["mlp_post.2.1+"]
    assert [cell.text for cell in best[0].all("td")] == ["<b>word</b> 0+", "0.75", "[0.65, 0.85]", "0", "0.25"]
    row = tree.rows("by-layer")[0]
    assert [*row[:4], *row[6:]] == ["mlp_post 2", "4", "75.0 %", "75.0 %", "4", "0.50", "66.7 %"]


def test_a_text_cannot_become_part_of_the_page(tree: Node, asked: ReportOptions):
    scripts = tree.all("script")
    assert [each.attributes.get("id") for each in scripts] == ["data", None]
    assert not tree.all("img")
    assert HOSTILE in "".join(pieces(data_of(tree), "mlp_post.2.0", 0, 1))
    source = page(Evidence.read(asked), 2000)
    assert "<img" not in source
    assert "innerHTML" not in source
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", source)
    policy = next(each for each in tree.all("meta") if "http-equiv" in each.attributes)
    assert (policy.attributes["content"] or "").startswith("default-src 'none'")


def card(data: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in data["cards"] if each["name"] == name)


def pieces(data: dict[str, Any], name: str, pole: int, rank: int) -> list[str]:
    return card(data, name)["sides"][pole]["excerpts"][rank][0]


def test_excerpts_and_histograms_are_what_the_features_did(tree: Node):
    data = data_of(tree)
    assert [each["name"] for each in data["cards"]] == [f"mlp_post.2.{n}" for n in (0, 1, 3, 2)]  # best described first
    text, coded, at, strength, sequence = card(data, "mlp_post.2.0")["sides"][0]["excerpts"][0]
    assert ("".join(text), text[at], strength, sequence) == (TEXTS["train"][0], " red", 2.0, 0)
    assert coded == "".join("z" if word == " red" else "0" for word in text)
    low = card(data, "mlp_post.2.1")["sides"][1]
    assert [each[0][each[2]] for each in low["excerpts"][:2]] == ["blue", " blue"]
    assert low["peak"] == -2.0
    bottom, top, counts = card(data, "mlp_post.2.1")["histogram"]
    values = np.concatenate([FEATURES[1](made.words(text)) for text in TEXTS["train"]])
    assert (bottom, top) == pytest.approx((values.min(), values.max()), rel=1e-3)
    assert counts == np.histogram(values.astype(np.float32), 32)[0].tolist()


def test_cards_say_why_there_are_no_words(tree: Node):
    data = data_of(tree)
    assert [side["missing"] for side in card(data, "mlp_post.2.2")["sides"]] == [
        "It never fires so on the train split."] * 2  # fmt: skip
    assert card(data, "mlp_post.2.3")["sides"][0]["missing"] == "The explainer gave no answer: timed out <1>"
    side = card(data, "mlp_post.2.0")["sides"][0]
    assert (side["text"], side["missing"], side["score"]) == ("<b>word</b> 0+", None, 0.75)
    assert side["scores"] == [["simulation", 0.75, 0.65, 0.85, 0.0, None, 0.25, 0.75]]
    assert side["candidates"] == [["another", ""]]


def test_a_page_holds_as_many_cards_as_asked_for(asked: ReportOptions):
    data = data_of(read(page(Evidence.read(asked), 1)))
    assert ([each["name"] for each in data["cards"]], data["total"]) == (["mlp_post.2.0"], 4)


def test_exemplars_alone_make_a_page(asked: ReportOptions):
    tree = read(page(Evidence.read(ReportOptions(exemplars=asked.exemplars)), 2000))
    assert tree.one("section", id="scores").one("p", class_="absent")
    sides = [side for each in data_of(tree)["cards"] for side in each["sides"] if side["peak"] is not None]
    assert {side["missing"] for side in sides} == {"Nobody was asked to describe it."}
    assert all(side["excerpts"] for side in sides)


def test_the_stage_writes_the_same_bytes_again(asked: ReportOptions, workplace: Path):
    first, second = report(asked), report(asked.model_copy(update={"out": workplace / "again"}))
    for name in ("report.html", "neurons.sqlite"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert report(asked) == first  # finished: reused


def test_labels_of_cot_neurons_join_on_the_neuron(asked: ReportOptions, workplace: Path):
    row = {"model": "made", "layer": 2, "neuron": 1, "polarity": "-", "concept": "sea", "score": 0.5, "judge": "rules",
           "rationale": "r", "auroc": 0.875, "auroc_low": None, "auroc_high": None, "validated": True}  # fmt: skip
    folder = labelled(workplace / "la", [row, row | {"layer": 7}])
    data = data_of(read(page(Evidence.read(asked.model_copy(update={"labels": str(folder)})), 2000)))
    assert card(data, "mlp_post.2.1")["sides"][1]["labels"] == [["sea", 0.875]]
    assert sum(bool(side["labels"]) for each in data["cards"] for side in each["sides"]) == 1
    other = labelled(workplace / "lo", [row | {"model": "other"}])
    with pytest.raises(UsageError, match=r"--labels .*lo is of 'other'"):
        Evidence.read(asked.model_copy(update={"labels": str(other)}))


def labelled(folder: Path, rows: list[dict[str, Any]]) -> Path:
    with runkit.stage("cot-neurons.label", Options(out=folder)) as run:
        run.table("labels", pl.DataFrame(rows, schema=tables.columns(Labels)), Labels)
    return folder


def test_promoted_tokens_are_the_unembedding_of_what_a_neuron_writes(workplace: Path):
    place = families.save("llama", workplace / "tiny")
    exemplars = made.store(workplace / "ex", TEXTS, FEATURES, layer=1, model="tiny")
    folder = report(ReportOptions(exemplars=str(exemplars), model=str(place), out=workplace / "re"))
    found = card(data_of(read((folder / "report.html").read_text("utf-8"))), "mlp_post.1.3")
    hf: Any = families.tiny_model("llama")
    with torch.no_grad():
        scores = hf.lm_head.weight @ (hf.model.norm.weight * hf.model.layers[1].mlp.down_proj.weight[:, 3])
    tokenizer = families.tiny_tokenizer(hf.config.vocab_size)
    for key, top in (("promotes", scores.topk(5)), ("suppresses", (-scores).topk(5))):
        shown = [tokenizer.decode([number]) for number in top.indices.tolist()]
        same = [a == b for a, b in zip(found[key], shown, strict=False) if "\ufffd" not in b]  # others are spelled out
        assert same
        assert all(same)
