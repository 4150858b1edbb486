"""The published files and the data sets they were made of: the counts that are known of them come out."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from memreason.data import Data
from memreason.importing import import_
from memreason.options import ImportOptions
from memreason.trace import Item

pytestmark = [pytest.mark.realdata, pytest.mark.usefixtures("workplace")]


def imported(*sources: Path, **given: Any) -> tuple[Path, list[Item]]:
    folder = import_(ImportOptions(data=tuple(map(str, sources)), **given))
    return folder, Data.open(str(folder)).items


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


def counts(folder: Path, of: str, dataset: str) -> dict[str, int]:
    rows = table(folder, "counts").filter((pl.col("of") == of) & pl.col("source").str.contains(f"/{dataset}"))
    return rows.drop("source", "split", "of").sum().row(0, named=True)


def test_published_annotations(shared_folder: Path) -> None:
    place = shared_folder / "data" / "memory_reason_steps"
    names = [
        "StrategyQA_train_clean", "StrategyQA_test_clean", "truthful_qa_train_clean_CC", "truthful_qa_test_clean_CC",
        "commonsense_qa_test_clean_CC",
    ]  # fmt: skip
    folder, items = imported(*(place / f"{name}.json" for name in names))

    train = counts(folder, "read", "StrategyQA_train")
    assert train.items() >= {
        "rows": 1603, "annotated": 1603, "reason": 3893, "memory": 3646, "other": 0, "blank": 71, "memory_only": 92,
        "reason_only": 5, "ends_in_memory": 118, "memory_first": 793,
    }.items()  # fmt: skip
    assert train["steps"] / train["rows"] == pytest.approx(4.70, abs=0.005)
    kept = counts(folder, "kept", "StrategyQA_train")
    assert (kept["rows"], kept["annotated"], kept["blank"]) == (1603, 1588, 0)
    assert (kept["memory"], kept["reason"]) == (3646 - 34, 3893 - 37)

    test = counts(folder, "read", "StrategyQA_test")
    assert test.items() >= {
        "rows": 687, "annotated": 686, "reason": 1708, "memory": 1542, "other": 2, "blank": 30
    }.items()  # fmt: skip
    assert counts(folder, "kept", "StrategyQA_test")["annotated"] == 679

    truthful = counts(folder, "read", "truthful_qa_train")
    assert truthful.items() >= {
        "rows": 632, "annotated": 632, "reason": 2257, "memory": 1169, "blank": 0, "reason_only": 29
    }.items()  # fmt: skip
    gold = Counter(item.trace.answer for item in items if item.dataset == "truthfulqa" and item.split == "test")
    assert (gold.total(), gold["A"], gold["I"]) == (164, 44, 1)
    assert counts(folder, "kept", "commonsense_qa_test").items() >= {"rows": 1221, "steps": 0}.items()

    # nothing is lost between what was read and what was kept
    dropped = table(folder, "dropped")
    both = {of: table(folder, "counts").filter(of=of) for of in ("read", "kept")}
    assert both["read"]["rows"].sum() == both["kept"]["rows"].sum() == len(items) == 4307
    assert both["read"]["steps"].sum() - both["kept"]["steps"].sum() == len(dropped) == 71 + 30 + 2
    assert Counter(dropped["reason"]) == {
        "it is empty": 101, "its tag [reason] and [rag] is neither [rag] nor [reason]": 2
    }  # fmt: skip
    sizes = Counter((item.dataset, item.split) for item in items)
    assert (sizes["strategyqa", "dev"], sizes["truthfulqa", "dev"]) == (160, 63)
    assert "1: \"Can you find Bob Marley's face" in (folder / "journal.jsonl").read_text().replace("\\", "")


def test_published_questions_are_those_of_the_data_set(shared_folder: Path) -> None:
    """Question text and options as we write them from CommonsenseQA's own file are those that were published."""
    _, published = imported(shared_folder / "data" / "memory_reason_steps" / "commonsense_qa_test_clean_CC.json")
    _, raw = imported(shared_folder / "data" / "commonsenseqa" / "dev.jsonl", as_split="test")
    assert len(raw) == 1221
    assert [item.trace for item in raw] == [item.trace for item in published]
    assert [item.choices for item in raw] == [item.choices for item in published]


def test_strategyqa_as_a_task(shared_folder: Path) -> None:
    place = shared_folder / "data" / "strategyqa" / "task.json"
    _, items = imported(place)
    examples = json.loads(place.read_text())["examples"]
    assert Counter(item.trace.answer for item in items) == {"No": 1219, "Yes": 1071}
    assert [item.trace.answer for item in items] == [each["target"].partition(".")[0] for each in examples]
    dev = [item for item in items if item.split == "dev"]
    assert len(dev) == 229
    assert Counter(item.trace.answer for item in dev)["No"] in (121, 122), "as often as in all"


def test_lines_of_gsm8k(shared_folder: Path) -> None:
    place = shared_folder / "data" / "gsm8k" / "test.jsonl"
    folder, items = imported(place)
    rows = [json.loads(line) for line in place.read_text().splitlines()]
    assert [item.trace.answer for item in items] == [row["answer"].rpartition("#### ")[2] for row in rows]
    lines = [line for row in rows for line in row["answer"].split("\n")[:-1] if line.strip()]
    steps = [step for item in items for step in item.trace.steps]
    assert len(steps) == len(lines) == counts(folder, "kept", "gsm8k")["steps"]
    for line, step in zip(lines, steps, strict=True):
        assert "<<" not in step.text
        assert step.kind == "reason" or ("<<" not in line and not line.strip().endswith("=")), line
        assert step.kind == "memory" or "=" in line, line
