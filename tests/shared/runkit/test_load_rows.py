"""Rows of every form, good and bad; each fault is named by file, row and field."""

import csv
import io
import json
import random
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import runkit
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, Field
from runkit import readers
from runkit.data import load_rows
from runkit.errors import DataError, UsageError
from runkit.options import Options


class Item(BaseModel):
    id: str
    question: str
    answer: int = 0


GOOD = [{"id": f"q{i}", "question": f"How many? {i} “q”", "answer": i} for i in range(4)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        frame = pl.DataFrame(rows)
        frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
def test_every_form_gives_the_same_rows(tmp_path: Path, name: str):
    rows = load_rows(write(tmp_path / name, GOOD), Item)
    assert [row.model_dump() for row in rows] == GOOD
    assert len(load_rows(tmp_path / name, Item, limit=2)) == 2


def test_byte_order_marks_blank_lines_and_windows_endings_do_no_harm(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "1", "question": "a"}\r\n\r\n{"id": "2", "question": "b"}')
    assert [row.id for row in load_rows(path, Item)] == ["1", "2"]


def test_a_folder_gives_the_file_named_by_split(tmp_path: Path):
    write(tmp_path / "train.jsonl", GOOD)
    write(tmp_path / "test.csv", GOOD[:2])
    (tmp_path / "README.md").touch()
    assert len(load_rows(tmp_path, Item, split="test")) == 2
    with pytest.raises(UsageError, match="holds test, train: choose one with --split"):
        load_rows(tmp_path, Item)
    with pytest.raises(UsageError, match=r"--split tset: .*did you mean 'test'"):
        load_rows(tmp_path, Item, split="tset")
    with pytest.raises(UsageError, match="single file"):
        load_rows(tmp_path / "train.jsonl", Item, split="test")


def test_ids_are_made_where_there_are_none_and_follow_the_row(tmp_path: Path):
    path = write(tmp_path / "test.jsonl", [{"question": "a"}, {"question": ""}, {"question": "c"}])
    assert [row.id for row in load_rows(path, Item, on_bad_row="quarantine")] == ["test-1", "test-3"]


def test_other_spellings_of_a_column_are_the_models_choice(tmp_path: Path):
    class Spelled(BaseModel):
        question: str = Field(validation_alias=AliasChoices("question", "Body"))

    (row,) = load_rows(write(tmp_path / "a.jsonl", [{"Body": "b"}]), Spelled)
    assert row.question == "b"


# Bad rows: line of the file, what is in the message

BAD_LINES = [
    (b'{"id": "1", "question": "a\xff"}', "row 2: not UTF-8 (byte 0xff at character 27)"),
    (b'{"id": "1", "question": ', "row 2: not valid JSON:"),
    (b'{"id": "1", "question": NaN}', "row 2: not valid JSON:"),
    (b"[1, 2]", "row 2: expected an object with named fields, found an array"),
    (b"null", "row 2: expected an object with named fields, found null"),
    (b'{"id": "1"}', "row 2, field 'question': is missing, expected 'question'; the row has: id"),
    (b'{"id": "1", "question": 5}', "row 2, field 'question': 5: should be a valid string"),
    (b'{"id": "1", "question": null}', "row 2, field 'question': None: should be a valid string"),
    (b'{"id": "1", "question": " \\t"}', "row 2, field 'question': is empty, expected text"),
    (b'{"id": "1", "question": "a", "answer": "x"}', "row 2, field 'answer': 'x': should be a valid integer"),
    (b'{"id": "q0", "question": "a"}', "row 2, field 'id': 'q0' is already in row 1, expected no duplicates"),
]


@pytest.mark.parametrize(("line", "told"), BAD_LINES)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, told: str):
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(GOOD[0]).encode() + b"\n" + line + b"\n" + json.dumps(GOOD[3]).encode())
    with pytest.raises(DataError) as caught:
        load_rows(path, Item)
    message = str(caught.value)
    assert message.startswith(f"{path}: 1 of 3 rows is bad:")
    assert told in message
    assert "--on-bad-row quarantine" in message
    kept = load_rows(path, Item, on_bad_row="quarantine")
    assert [row.id for row in kept] == ["q0", "q3"]


def test_an_object_that_holds_one_list_of_rows_is_read(tmp_path: Path):
    path = tmp_path / "task.json"
    path.write_text(json.dumps({"name": "a", "keywords": ["b", "c"], "examples": GOOD}))
    assert load_rows(path, Item) == load_rows(write(tmp_path / "a.jsonl", GOOD), Item)
    path.write_text(json.dumps({"examples": GOOD, "others": GOOD}))
    with pytest.raises(DataError, match="found an object"):
        load_rows(path, Item)


def test_the_first_five_are_told_and_the_rest_counted(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", [{"question": ""}] * 9 + GOOD)
    with pytest.raises(DataError) as caught:
        load_rows(path, Item)
    assert "9 of 13 rows are bad" in str(caught.value)
    assert str(caught.value).count("is empty") == 5
    assert "and 4 more" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"id,question\n1,a\n2,b,c\n", "row 3: 3 cells, expected 2 (id, question)"),
        ("a.csv", b'id,question\n1,"a\nb"\n2,\n', "row 4, field 'question': is empty"),
        ("a.csv", b"id,question\n1,\xe9t\xe9\n", "row 2: not UTF-8 (byte 0xe9"),
        ("a.json", b'[{"id": "1", "question": "a"}, 7]', "row 2: expected an object"),
        ("a.json", b'{"id": "1"}\n{"id": "2"}', "one object per line is named .jsonl"),
        ("a.json", b'{"data": []}', "expected a JSON array of objects, found an object"),
        ("a.json", b'[\n{"id": "\xff"}]', "line 2: not UTF-8 (byte 0xff"),
        ("a.parquet", b"PAR1 no", "cannot be read as Parquet"),
        ("a.jsonl", b"", "has no rows"),
        ("a.jsonl", b"\n\n", "has no rows"),
        ("a.csv", b"id,question\n", "has no rows"),
        ("a.jsonl", "{}".encode("utf-16"), "row 1: not UTF-8"),
        (
            "a.jsonl",
            b'{"Question": "a", "id": "1"}',
            "no column 'question' (did you mean 'Question'?); columns there: Question, id",
        ),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, told: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_rows(path, Item)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_names_the_nearest(tmp_path: Path):
    write(tmp_path / "test.jsonl", GOOD)
    with pytest.raises(UsageError, match=r"tset\.jsonl: no such file or folder; did you mean 'test\.jsonl'"):
        load_rows(tmp_path / "tset.jsonl", Item)
    (tmp_path / "a.xml").touch()
    with pytest.raises(UsageError, match=r"read from files that end in \.jsonl, \.json, \.csv, \.parquet, \.txt"):
        load_rows(tmp_path / "a.xml", Item)


class Passage(BaseModel):
    text: str


def test_plain_text_is_read_passage_by_passage(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"\n\none\nstill one\n  \ntwo\n\n\nth\xffree\n")
    with pytest.raises(DataError, match=r"row 9: not UTF-8 \(byte 0xff at character 3\)"):
        load_rows(tmp_path / "a.txt", Passage)
    assert [row.text for row in load_rows(tmp_path / "a.txt", Passage, limit=2)] == ["one\nstill one", "two"]


def test_a_text_beside_tables_is_about_them(tmp_path: Path):
    write(tmp_path / "test.jsonl", GOOD)
    (tmp_path / "README.txt").write_text("what these are")
    assert len(load_rows(tmp_path, Item)) == len(GOOD)


# Quarantine


def test_counts_add_up_and_rejected_rows_can_be_read(here: Path):
    chance = random.Random(3)
    lines = [json.dumps(GOOD[0] | {"id": f"id{i}"}).encode() for i in range(100)]
    spoilt = sorted(chance.sample(range(1, 100), 33))
    for index in spoilt:
        lines[index] = chance.choice(BAD_LINES)[0].replace(b'"q0"', b'"id0"').replace(b'"id": "1"', b'"id": "id0"')
    path = here / "mixed.jsonl"
    path.write_bytes(b"\n".join(lines))
    with runkit.stage("toy.load", Options(out=here / "o")) as run:
        rows = load_rows(path, Item, on_bad_row="quarantine", run=run)
    rejected = pl.read_parquet(here / "o" / "tables" / "rejected.parquet")
    assert rejected.columns == ["file", "row", "field", "reason", "raw"]
    assert rejected["row"].to_list() == [index + 1 for index in spoilt]
    assert [row.id for row in rows] == [f"id{i}" for i in range(100) if i not in spoilt]
    assert rejected["file"].unique().to_list() == [str(path)]
    metrics: dict[str, float] = {}
    for line in (here / "o" / "journal.jsonl").read_bytes().splitlines():
        event = json.loads(line)
        metrics |= event["values"] if event["event"] == "metrics" else {}
    assert metrics == {"rows_read": 100, "rows_kept": 67, "rows_rejected": 33}


def test_no_good_row_is_an_error_even_in_quarantine(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", [{"question": "", "id": "1"}])
    with pytest.raises(DataError, match=r"none of 1 rows is good; the first: row 1, field 'question'"):
        load_rows(path, Item, on_bad_row="quarantine")


def csv_line(cells: tuple[str, str]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"))


@given(st.lists(st.tuples(CELL, CELL)))
def test_csv_rows_are_those_of_the_standard_reader_and_numbered_by_line(
    tmp_path_factory: Any, cells: list[tuple[str, str]]
):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    written = [csv_line(row) for row in [("a", "b"), *cells]]
    path.write_bytes("".join(written).encode())
    found = list(readers.read(path))
    assert [(row.values["a"], row.values["b"]) for row in found if row.values] == cells
    starts = [1 + sum(text.count("\n") for text in written[: row + 1]) for row in range(len(cells))]
    assert [row.number for row in found] == starts


# The hub


def test_an_unreachable_hub_is_told_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    since = time.monotonic()
    with pytest.raises(
        UsageError, match=r"nobody/nothing: no such file here, and not to be had from the Hugging Face hub"
    ):
        load_rows("nobody/nothing", Item)
    assert time.monotonic() - since < 8
    assert datasets.config.HF_HUB_OFFLINE is False


# Real data


@pytest.mark.realdata
@pytest.mark.parametrize(("folder", "split", "rows"), [("gsm8k", "test", 1319), ("gsm8k", "train", 7473)])
def test_gsm8k_is_read_whole(shared_folder: Path, folder: str, split: str, rows: int):
    class Problem(BaseModel):
        question: str
        answer: str

    assert len(load_rows(shared_folder / "data" / folder, Problem, split=split)) == rows


@pytest.mark.realdata
def test_a_json_array_of_real_problems(shared_folder: Path):
    class Problem(BaseModel):
        id: str = Field(validation_alias="ID")
        body: str = Field(validation_alias="Body")
        answer: float = Field(validation_alias="Answer")

    assert len(load_rows(shared_folder / "data" / "svamp", Problem)) == 1000
