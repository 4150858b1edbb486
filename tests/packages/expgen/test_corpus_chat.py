"""Conversations are what the tokenizer's own template makes of them, and only what is said in them may be a peak."""

from itertools import pairwise
from pathlib import Path

import pytest
from expgen.corpus import files
from runkit.errors import DataError

from tests.packages.expgen.corpora import bytewise, corpus, rows

TALKS = [
    [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "user"}],  # as the template spells it
    [{"role": "user", "content": "  a dog \n"}, {"role": "assistant", "content": "a"}],  # which the template strips
    [{"role": "user", "content": "the <|end|> 漢字 mat"}, {"role": "assistant", "content": "👩‍🚀 ran"}],
    [{"role": "user", "content": "sat"}],
]


@pytest.fixture
def data(tmp_path: Path) -> str:
    return rows(tmp_path / "talks.jsonl", [{"messages": talk, "prompt": "not this"} for talk in TALKS])


def test_ids_are_the_templates_and_contents_are_peaks(data: str):
    tokenizer = bytewise(chat=True)
    found = corpus(tokenizer, data, seq_len=128, count=("sinks",))
    ids = sorted(row for split in found.splits.values() for row in files.rows(split))
    assert ids == sorted(tokenizer.apply_chat_template(talk, return_dict=False) for talk in TALKS)
    for split in found.splits.values():
        for row, (a, b) in zip(split.table.iter_rows(named=True), pairwise(split.first.tolist()), strict=True):
            talk = TALKS[row["document"]]
            spans = zip(split.starts[a:b].tolist(), split.ends[a:b].tolist(), split.valid[a:b].tolist(), strict=True)
            said = sorted({i for start, end, valid in spans if valid for i in range(start, end)})
            assert "<|" not in row["text"]
            expected = "".join(turn["content"].strip().replace("<|end|>", "") for turn in talk)
            assert "".join(row["text"][i] for i in said) == expected


def test_template_and_special_tokens_count_when_asked(data: str):
    tokenizer = bytewise(chat=True)
    special = {0, 1, 2, 3, 4}
    for count in (("template", "sinks"), ("template", "special", "sinks")):
        for split in corpus(tokenizer, data, seq_len=128, count=count).splits.values():
            off = {int(i) for i in split.ids[~split.valid]}
            assert off == (set() if "special" in count else special & set(split.ids.tolist()))


def test_windows_of_a_conversation_begin_with_bos_once(data: str):
    tokenizer = bytewise(chat=True)
    for split in corpus(tokenizer, data, seq_len=8, layout="windows").splits.values():
        for row in files.rows(split):
            assert [i for i, token in enumerate(row) if token == tokenizer.bos_token_id] == [0]


def test_a_conversation_that_the_template_refuses_is_a_bad_row(tmp_path: Path):
    bad = [{"role": "assistant", "content": "the cat"}]
    data = rows(tmp_path / "talks.jsonl", [{"messages": talk} for talk in [*TALKS, bad, [{"role": "user"}], []]])
    with pytest.raises(DataError) as caught:
        corpus(bytewise(chat=True), data)
    told = str(caught.value)
    assert "3 of 7 rows" in told
    for row in (
        "row 5, field 'messages': ",
        "row 6, field 'messages.0.content': is missing",
        "row 7, field 'messages'",
    ):
        assert row in told
    assert "turns must alternate" in told
