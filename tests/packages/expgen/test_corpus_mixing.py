"""Which documents and sequences are taken, and what is said where none are."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import runkit
from expgen import tables
from expgen.corpus import Corpus
from expgen.corpus.build import build
from expgen.options import ExemplarsOptions
from runkit.errors import DataError, UsageError
from runkit.tables import check
from transformers import PreTrainedTokenizerBase

from tests.packages.expgen.corpora import bytewise, corpus, rows


def texts(count: int, word: str = "cat", long: int = 12) -> list[str]:
    """Texts that differ, of different lengths."""
    return [f"the {word} {number}" + f" sat on {number}" * (number % long) for number in range(count)]


def told(found: Corpus) -> pl.DataFrame:
    """All rows of `sequences`, and both tables are what they should be."""
    frame = pl.concat(check(split.table, tables.Sequences, "sequences") for split in found.splits.values())
    mixture = check(found.mixture, tables.Mixture, "mixture")
    by = ["source", "split"]
    counted = frame.group_by(by).agg(pl.len().alias("n"), pl.sum("tokens").alias("t"))
    both = mixture.join(counted, on=by, how="left").fill_null(0)
    assert both["sequences"].to_list() == both["n"].to_list()
    assert both["tokens"].to_list() == both["t"].to_list()
    return frame


def test_a_document_is_in_one_split_and_its_windows_stand_together(tmp_path: Path):
    found = corpus(
        bytewise(), rows(tmp_path / "a.jsonl", texts(100)), layout="windows", seq_len=8, shares=(0.6, 0.3, 0.1)
    )
    frame = told(found)
    assert frame.group_by("document").agg(pl.n_unique("split"))["split"].max() == 1
    assert found.mixture["documents"].to_list() == [60, 30, 10]
    for split in found.splits.values():
        numbers = split.table["document"].to_list()
        assert numbers == sorted(numbers)
        assert max(Counter(numbers).values()) > 1
        first = [0, *(i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1])]
        assert split.documents.tolist() == split.first[first].tolist()
        assert split.table["sequence"].to_list() == list(range(len(numbers)))


def test_seed_decides_what_is_drawn_and_nothing_else(tmp_path: Path):
    data = rows(tmp_path / "a.jsonl", texts(60))
    same, again, other = (told(corpus(bytewise(), data, limit=30, seed=seed)) for seed in (1, 1, 2))
    assert same.equals(again)
    assert not same.equals(other)


def test_equal_sequences_are_kept_once_over_all_splits(tmp_path: Path):
    distinct = texts(20)
    data = rows(tmp_path / "a.jsonl", distinct * 3)
    found = corpus(bytewise(), data, seq_len=128)
    frame = told(found)
    assert sorted(frame["text"]) == sorted(distinct)
    assert sorted(frame["document"]) == list(range(20))  # the first of each
    assert found.mixture["repeated"].sum() == 40
    more = corpus(bytewise(), data, rows(tmp_path / "b.jsonl", texts(5) + texts(9, "dog")), seq_len=128)
    assert more.mixture.filter(source=str(tmp_path / "b.jsonl"))["repeated"].sum() == 5


@pytest.mark.parametrize("layout", ["documents", "windows", "packed"])
@pytest.mark.parametrize(("ratios", "limit"), [((0.7, 0.2, 0.1), None), ((0.25, 0.25, 0.5), 41), ((), 50), ((), None)])
def test_shares_are_exact_up_to_a_sequence(tmp_path: Path, layout: str, ratios: tuple[float, ...], limit: int | None):
    data = [rows(tmp_path / f"{word}.jsonl", texts(count, word))
            for word, count in (("cat", 120), ("dog", 60), ("user", 90))]  # fmt: skip
    asked: dict[str, Any] = {"layout": layout, "seq_len": 9}
    full = told(corpus(bytewise(), *data, **asked))
    available = [len(full.filter(source=name)) for name in data]
    frame = told(corpus(bytewise(), *data, ratios=ratios, limit=limit, **asked))
    weights = ratios or [n / sum(available) for n in available]
    most = min(n / share for n, share in zip(available, weights, strict=True))
    assert len(frame) == min(int(most + 1e-6), limit or 10**9)
    for name, share in zip(data, weights, strict=True):
        assert abs(len(frame.filter(source=name)) - share * len(frame)) < 1
    for split in tables.SPLITS:
        part = len(full.filter(split=split)) / len(full)
        assert abs(len(frame.filter(split=split)) / len(frame) - part) < 0.1
    kept = frame.select("split", "source", "text", "document")
    assert kept.join(full.select(kept.columns), on=kept.columns, how="anti").is_empty()  # a draw of these, nothing else


def test_what_is_left_out_is_counted(tmp_path: Path):
    tokenizer = bytewise()
    data = [*texts(40), *["x"] * 3, "the cat 1"]
    found = corpus(tokenizer, rows(tmp_path / "a.jsonl", data), layout="windows", seq_len=10, limit=20)
    told(found)
    content = {text: len(tokenizer(text, add_special_tokens=False)["input_ids"]) // 9 for text in data}
    mixture = found.mixture.sum()
    assert mixture["documents"][0] == len(data)
    assert mixture["too_short"][0] == sum(content[text] == 0 for text in data) > 0
    lost = sum(mixture[name][0] for name in ("blank", "repeated", "left_out", "sequences"))
    assert lost == sum(content[text] for text in data)
    assert mixture["sequences"][0] == 20
    blank = corpus(tokenizer, rows(tmp_path / "b.jsonl", [*texts(10), "the", "a"]))
    assert blank.mixture["blank"].sum() == 2
    assert "the" not in told(blank)["text"].to_list()


def test_rejected_rows_of_all_sources_are_in_one_table(workplace: Path):
    good = [{"text": text} for text in texts(8)]
    first = rows(workplace / "a.jsonl", [*good, {"text": 3}])
    second = rows(workplace / "b.jsonl", [{"story": "the other dog"}, {"story": "  "}, {"name": "x"}])
    with pytest.raises(DataError, match=r"b\.jsonl: 2 of 3 rows.*\n.*row 2, field 'story': .*empty"):
        corpus(bytewise(), second)
    asked: dict[str, Any] = {"model": "m", "data": (first, second), "on_bad_row": "quarantine"}
    options = ExemplarsOptions(**asked, out=workplace / "run")
    with runkit.stage("expgen.exemplars", options) as run:
        build(options, bytewise(), None, run)
    rejected = pl.read_parquet(workplace / "run/tables/rejected.parquet")
    assert list(zip(rejected["file"], rejected["row"], rejected["field"], strict=True)) == [
        (first, 9, "text"), (second, 2, "story"), (second, 3, "")
    ]  # fmt: skip
    assert {"rows_read": 12.0, "rows_kept": 9.0, "rows_rejected": 3.0}.items() <= _results(workplace / "run").items()


def _results(folder: Path) -> dict[str, float]:
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    events = [line.get("event_data", line) for line in lines]
    return {
        name: value for event in events if event.get("event") == "metrics" for name, value in event["values"].items()
    }


def _slow() -> PreTrainedTokenizerBase:
    class Slow(PreTrainedTokenizerBase):
        is_fast = False

    return Slow()


def _endless() -> Any:
    return bytewise(eos=False)


@pytest.mark.parametrize(
    ("make", "content", "asked", "error", "says"),
    [
        (bytewise, ["the cat"] * 9, {"layout": "windows"}, UsageError, r"--seq-len 16 .* longest of 9 documents has 3"),
        (bytewise, texts(9), {"context": 12}, UsageError, "--seq-len 16: made reads 12 tokens at most"),
        (_endless, texts(9), {"layout": "packed"}, UsageError, "end-of-text token"),
        (_slow, texts(9), {}, UsageError, r"tokenizer\.json"),
        (bytewise, texts(2), {}, DataError, "split test has no sequences: 0 of 2 documents"),
        (bytewise, texts(20), {"limit": 2}, DataError, r"split test has no sequences.*left_out 5"),
        (bytewise, [], {}, DataError, "has no rows"),
        (bytewise, [{"wrong": "the cat"}], {}, DataError, r"a\.jsonl.*\n.*row 1: .*expected a text in one of text"),
        (bytewise, [{"messages": [{"role": "user", "content": "x"}]}], {}, UsageError, "no chat template"),
        (bytewise, texts(9), {"split": "valid"}, UsageError, "single file"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_said(tmp_path: Path, make: Any, content: Any, asked: Any, error: Any, says: str):
    with pytest.raises(error, match=says):
        corpus(make(), rows(tmp_path / "a.jsonl", content), **asked)


def test_sources_that_clash_or_give_nothing_are_named(tmp_path: Path):
    data, short = rows(tmp_path / "a.jsonl", texts(30)), rows(tmp_path / "b.jsonl", ["the cat", "a dog", "a mat"])
    with pytest.raises(UsageError, match="more than once"):
        corpus(bytewise(), data, data)
    with pytest.raises(DataError, match=r"b\.jsonl has no sequences"):
        corpus(bytewise(), data, short, ratios=(0.5, 0.5), layout="windows")
    found = corpus(bytewise(), data, short, layout="windows")  # without ratios it is counted
    assert found.mixture.filter(source=short)["too_short"].sum() == 3
