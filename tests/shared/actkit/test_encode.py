"""Prompts become batches; wrong prompts become errors that name their rows."""

import copy

import actkit
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st


def test_text_ids_and_tensors_give_the_same_batch(tiny):
    texts = ["Ann has 12 apples", "The answer"]
    ids = tiny.tokenizer(texts)["input_ids"]
    from_text, from_ids = tiny.encode(texts), tiny.encode(ids)
    assert torch.equal(from_text.input_ids, from_ids.input_ids)
    assert from_text.ids == ids
    tensor = torch.tensor([ids[0], ids[0]])
    assert torch.equal(tiny.encode(tensor).input_ids, tensor)


def test_padding_on_either_side(bare):
    left, right = bare.encode([[5, 6, 7], [8]]), bare.encode([[5, 6, 7], [8]], pad="right")
    assert left.input_ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert left.attention_mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert left.positions.tolist() == [[0, 1, 2], [-1, -1, 0]]
    assert right.input_ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert right.positions.tolist() == [[0, 1, 2], [0, -1, -1]]
    assert left.position_ids.min() >= 0
    assert left.lengths.tolist() == right.lengths.tolist() == [3, 1]
    assert (left.last.tolist(), right.last.tolist()) == ([2, 2], [2, 0])
    assert torch.equal(right.left().input_ids, left.input_ids)
    assert left.left() is left


def test_a_padding_id_outside_the_vocabulary_is_not_used_and_nothing_is_changed(tiny, monkeypatch):
    tokenizer = copy.deepcopy(tiny.tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<extra>"})
    model = actkit.load(tiny.hf, tokenizer=tokenizer)
    assert model.encode([[5, 6], [7]]).input_ids[1, 0] == 0  # the model's own stands in
    monkeypatch.setattr(tiny.hf.config, "pad_token_id", None)
    assert model.encode([[5, 6], [7]]).input_ids[1, 0] == 2  # or its end-of-text id
    assert tokenizer.pad_token_id == 320
    assert tiny.hf.config.pad_token_id is None


def test_a_model_without_tokenizer_takes_ids_only(bare):
    with pytest.raises(actkit.NoTokenizer, match="no tokenizer, so it cannot read text"):
        bare.encode(["hello"])
    assert bare.generate(bare.encode([[5]]), max_new_tokens=1).texts is None


def test_empty_prompts_name_their_rows(tiny):
    with pytest.raises(actkit.PromptError, match=r"rows 1, 3 .*are empty") as caught:
        tiny.encode(["a", "", "b", ""])
    assert caught.value.rows == (1, 3)
    with pytest.raises(actkit.PromptError, match="non-empty list"):
        tiny.encode([])
    with pytest.raises(actkit.PromptError, match="Put a single prompt into a list"):
        tiny.encode("one prompt")


def test_prompts_longer_than_the_context_name_their_rows(bare):
    rows = [[5] * 128, [5] * 129, [5], [6] * 300]
    assert bare.too_long(rows) == [1, 3]
    assert bare.too_long(rows, extra=1) == [0, 1, 3]
    with pytest.raises(actkit.PromptError, match=r"rows 1, 3 .*longer than the model's context of 128 .*129, 300") as e:
        bare.encode(rows)
    assert e.value.rows == (1, 3)
    assert len(bare.encode([[5] * 128])) == 1


def test_ids_outside_the_vocabulary_name_their_rows(bare):
    with pytest.raises(actkit.PromptError, match="row 1 is out of vocabulary"):
        bare.encode([[5], [320]])


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 9))
def test_buckets_hold_every_row_once_short_with_short(lengths, size):
    groups = actkit.buckets(lengths, size)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(len(group) == size for group in groups[:-1])
    ordered = [lengths[i] for group in groups for i in group]
    assert ordered == sorted(lengths)
    assert groups == actkit.buckets(list(lengths), size)


def test_a_bucket_needs_room():
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        actkit.buckets([1], 0)
