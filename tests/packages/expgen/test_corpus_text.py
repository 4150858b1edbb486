"""Sequences are what the tokenizer itself makes of the texts, and every token knows its characters."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expgen.corpus import Corpus, files
from safetensors import safe_open

from tests.packages.expgen.corpora import bytewise, corpus, pieces, rows

WILD = [
    "the cat 漢字 sat",
    "a 👩‍🚀 dog",
    "żółć the mat",
    "naïve cat",
    "the  two spaces",
    " led by space",
    "line\nend the",
    "cats",
]


def everything(found: Corpus) -> list[tuple[str, list[int], np.ndarray, np.ndarray]]:
    """Text, ids, spans and validity of every sequence."""
    return [
        (text, split.ids[a:b].tolist(), np.stack([split.starts[a:b], split.ends[a:b]], 1), split.valid[a:b])
        for split in found.splits.values()
        for text, (a, b) in zip(split.table["text"], pairwise(split.first.tolist()), strict=True)
    ]


def spelled(tokenizer: Any, ids: list[int], spans: np.ndarray, text: str) -> str:
    """The text again, out of each token's own characters; those of a character's later tokens are not said twice."""
    said, reached = "", 0
    for start, end in spans.tolist():
        assert start == end or start <= reached <= end
        said, reached = said + text[reached:end], max(reached, end)
    return said


@pytest.mark.parametrize("make", [bytewise, pieces])
def test_documents_are_what_the_tokenizer_makes_of_them(tmp_path: Path, make: Any):
    tokenizer = make()
    found = everything(corpus(tokenizer, rows(tmp_path / "a.jsonl", WILD), seq_len=64))
    assert sorted(tokenizer(text)["input_ids"] for text in WILD) == sorted(ids for _, ids, _, _ in found)
    for text, ids, spans, _ in found:
        assert text in WILD
        assert tokenizer(text)["input_ids"] == ids
        assert spelled(tokenizer, ids, spans, text) == text
        for token, (start, end) in zip(ids, spans.tolist(), strict=True):
            said = tokenizer.decode([token]).strip()
            assert start == end if token in tokenizer.all_special_ids else "\ufffd" in said or said in text[start:end]


@pytest.mark.parametrize("make", [bytewise, pieces])
@pytest.mark.parametrize("layout", ["windows", "packed"])
def test_no_character_is_broken_at_a_window_edge(tmp_path: Path, make: Any, layout: str):
    tokenizer = make()
    texts = [f"{a} {number} {b}" for number, a in enumerate(WILD) for b in WILD]
    found = everything(corpus(tokenizer, rows(tmp_path / "a.jsonl", texts), seq_len=7, layout=layout))
    assert {len(ids) for _, ids, _, _ in found} == {7}
    assert not any("\ufffd" in text for text, *_ in found)
    whole = "\n".join(texts) + "\n"
    for text, ids, spans, _ in found:
        assert layout == "packed" or text in whole
        assert [i for i, token in enumerate(ids) if token == tokenizer.bos_token_id] == [0]
        for token, (start, end) in zip(ids, spans.tolist(), strict=True):
            said = tokenizer.decode([token]).strip()
            assert "\ufffd" in said or said in text[start:end] or token in tokenizer.all_special_ids
    assert any("漢" in text or "👩" in text for text, *_ in found)


def test_special_tokens_written_into_a_text_are_not_shown_nor_peaks(tmp_path: Path):
    tokenizer = bytewise()
    texts = ["the cat</s> sat", "<|start|>the dog", "a mat"]
    for count in ((), ("special",)):
        found = {
            text: valid
            for text, _, _, valid in everything(corpus(tokenizer, rows(tmp_path / "a.jsonl", texts), count=count))
        }
        assert set(found) == {"the cat sat", "the dog", "a mat"}
        ids = tokenizer("the cat</s> sat")["input_ids"]
        assert found["the cat sat"][ids.index(tokenizer.eos_token_id)] == bool(count)


def test_sinks_are_no_peaks_unless_asked_for(tmp_path: Path):
    data = rows(tmp_path / "a.jsonl", ["the cat sat", "a dog sat", "the dog ran"])
    for tokenizer, off in ((bytewise(), 2), (bytewise(bos=False), 1)):
        for *_, valid in everything(corpus(tokenizer, data)):
            assert valid.tolist() == [i >= off for i in range(len(valid))]
        for _, ids, _, valid in everything(corpus(tokenizer, data, count=("sinks",))):
            assert valid.tolist() == [token != tokenizer.bos_token_id for token in ids]
        for *_, valid in everything(corpus(tokenizer, data, count=("sinks", "special"))):
            assert valid.all()


def test_packed_documents_follow_one_another(tmp_path: Path):
    tokenizer = bytewise()
    texts = [f"the cat {number} sat on mat {number}" for number in range(40)]
    found = corpus(tokenizer, rows(tmp_path / "a.jsonl", texts), layout="packed", seq_len=10)
    for split in found.splits.values():
        stream = [token for row in files.rows(split) for token in row[1:]]
        documents = [[]]
        for token in stream:
            documents[-1].append(token)
            if token == tokenizer.eos_token_id:
                documents.append([])
        plain = {tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts}
        assert all(tuple(document[:-1]) in plain for document in documents[:-1])
        # where documents begin, as the limit per document needs it
        starts = {0, *(i + 1 for i, token in enumerate(split.ids[:-1]) if token == tokenizer.eos_token_id)}
        after_bos = {i + 1 if split.ids[i] == tokenizer.bos_token_id else i for i in starts}
        assert {i + 1 if split.ids[i] == tokenizer.bos_token_id else i for i in split.documents.tolist()} == after_bos


def test_what_is_written_is_what_the_store_reads(tmp_path: Path):
    found = corpus(bytewise(), rows(tmp_path / "a.jsonl", WILD))
    path = files.write(tmp_path / "train", found.splits["train"])
    again = files.write(tmp_path / "again", corpus(bytewise(), str(tmp_path / "a.jsonl")).splits["train"])
    assert path.read_bytes() == again.read_bytes()
    with safe_open(path, framework="np") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert {name: str(x.dtype) for name, x in kept.items()} == {
        "ids": "int32", "starts": "int32", "ends": "int32", "valid": "uint8", "first": "int64"
    }  # fmt: skip
    assert [kept["ids"][a:b].tolist() for a, b in pairwise(kept["first"])] == list(files.rows(found.splits["train"]))
