"""Texts and spans from token ids alone, against what the tokenizer says when it has the text."""

from collections.abc import Callable

import numpy as np
import pytest
from expgen.imported.spans import known, spans_of
from runkit.errors import UsageError
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "The red car stops. 12 + 7 = 19",
    "東京は日本の首都です。 ok",
    "héllo wörld 👩‍👩‍👧 🎉 fin",
    "tabs\tand\n\nlines   spaces",
    "a",
]
SPECIAL = ["<bos>", "<eos>", "<pad>", "<unk>"]


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS[:1] * 3, trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    return made


def sentencepiece(prefix: bool = True) -> Tokenizer:
    """As Llama 2 (a space put before every text, and taken off again) or as Gemma (none)."""
    pieces = [*SPECIAL, *(f"<0x{b:02X}>" for b in range(256)), "▁", *"Thredcarstop.", "▁the", "▁c", "本", "é"]
    made = Tokenizer(models.BPE({p: i for i, p in enumerate(dict.fromkeys(pieces))}, [], byte_fallback=True))
    space = normalizers.Replace(" ", "▁")
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space]) if prefix else space
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return made


def gemma() -> Tokenizer:
    return sentencepiece(prefix=False)


def metaspace() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(TEXTS, trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>"))
    return made


def wordpiece() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    made.decoder = decoders.WordPiece(cleanup=False)
    made.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=150, special_tokens=SPECIAL))
    return made


def words() -> Tokenizer:
    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.train_from_iterator(TEXTS, trainers.WordLevelTrainer(special_tokens=SPECIAL))
    return made


def ready(make: Callable[[], Tokenizer]) -> PreTrainedTokenizerFast:
    bare = make()
    bare.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[(name, bare.token_to_id(name)) for name in ("<bos>", "<eos>")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("make", [byte_level, sentencepiece, gemma, metaspace])
def test_text_and_spans_are_the_tokenizers_own(make: Callable[[], Tokenizer], text: str):
    tokenizer = ready(make)
    made = tokenizer(text, return_offsets_mapping=True)
    found, starts, ends = spans_of(tokenizer, made["input_ids"])
    assert found == tokenizer.decode(made["input_ids"], skip_special_tokens=True)
    pieces = tokenizer.convert_ids_to_tokens(made["input_ids"])
    for piece, (a, b), start, end in zip(pieces, made["offset_mapping"], starts, ends, strict=True):
        # The space put before a text is none of its characters; the tokenizer calls it the first one.
        assert found[start:end].strip() == ("" if piece == "▁" else text[a:b].strip())
    assert (starts[0], ends[0]) == (0, 0)
    assert (starts[-1], ends[-1]) == (len(found), len(found))
    assert "\ufffd" not in found


@pytest.mark.parametrize("make", [wordpiece, words])
def test_words_are_joined_by_spaces(make: Callable[[], Tokenizer]):
    tokenizer = ready(make)
    made = tokenizer(TEXTS[0], return_offsets_mapping=True)
    found, starts, ends = spans_of(tokenizer, made["input_ids"])
    assert found == TEXTS[0]
    for (a, b), start, end in zip(made["offset_mapping"], starts, ends, strict=True):
        assert found[start:end].strip() == TEXTS[0][a:b]


def test_every_token_of_a_character_has_it_whole():
    tokenizer = ready(byte_level)
    ids = tokenizer("a東🎉", add_special_tokens=False)["input_ids"]
    found, starts, ends = spans_of(tokenizer, ids)
    assert found == "a東🎉"
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [(0, 1)] + [(1, 2)] * 3 + [(2, 3)] * 4


@pytest.mark.parametrize(("cut", "text"), [(slice(2, None), "🎉b"), (slice(1, 6), "東"), (slice(2, 3), "")])
def test_half_a_character_at_the_edge_is_no_character(cut: slice, text: str):
    tokenizer = ready(byte_level)
    ids = tokenizer("a東🎉b", add_special_tokens=False)["input_ids"][cut]
    found, starts, ends = spans_of(tokenizer, ids)
    assert found == text
    assert "".join(dict.fromkeys(found[a:b] for a, b in zip(starts, ends, strict=True))) == text


def test_a_special_token_within_stands_at_its_place():
    tokenizer = ready(byte_level)
    left, right = (tokenizer(each, add_special_tokens=False)["input_ids"] for each in ("red", " car"))
    ids = [*left, tokenizer.eos_token_id, *right]
    found, starts, ends = spans_of(tokenizer, ids)
    assert found == "red car"
    assert starts[len(left)] == ends[len(left)] == 3


def test_added_tokens_are_spelled_as_they_are():
    tokenizer = ready(byte_level)
    tokenizer.add_tokens(["«naïve»"])
    ids = tokenizer("so «naïve» it is", add_special_tokens=False)["input_ids"]
    assert spans_of(tokenizer, ids)[0] == "so «naïve» it is"
    assert len(known(tokenizer)) == len(tokenizer) == np.max(known(tokenizer)) + 1


def test_an_unknown_decoder_is_refused_by_name():
    def strange() -> Tokenizer:
        made = words()
        made.decoder = decoders.CTC()
        return made

    with pytest.raises(UsageError, match="a step CTC"):
        spans_of(ready(strange), [5])
