"""Tags on hand-labelled chains: the same characters get the same tags whatever the tokenizer."""

import re

import pytest
from cot_neurons.tags import TAGS, Pieces, tag
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

MARK = {"o": "operand", "p": "operator", "e": "equals", "r": "result", "a": "answer", "z": "after_answer"}
CHAINS = [  # {o:3} is an operand, {p:+} an operator, and so on; what is not marked is text
    "So {o:3} {p:+} {o:2} {e:=} {r:5} cars.\nThe answer is {a:5}{z:.}",
    "{o:3}{p:+}{o:2}{e:=}{r:5}",
    "It is ${o:3} {p:*} {o:4} {e:=} ${r:12} now, in 3 days",
    "{o:5} {p:x} {o:3} {e:=} {r:15}",
    "{o:2} {p:+} {o:3} {p:+} {o:4} {e:=} {r:9}",
    "{o:6} {p:*} {o:2} {e:=} {o:10} {p:+} {o:2} {e:=} {r:12}",
    "{o:1,200} {p:/} {o:2.5} {e:=} {r:480}!",
    "{o:3} big boxes {p:*} {o:4} {e:=} {r:12} boxes",
    "{o:12} {p:−} {o:7} {e:=} {r:5}\n#### {a:-5}{z:\nQuestion: 1 + 1 = 2}",
    "The answer is {o:3} {p:+} {o:2} {e:=} {a:5}{z:. Yes, 4 + 4 = 8}",
    "Tom has 7 € and no sums. In 2020 he had 3 - or so - dogs.",
    "Let x + 3 = 7.",
    "",
]


def unmark(marked):
    """The text, and by hand the tag of each of its characters."""
    text, tags = "", []
    for mark, inside, plain in re.findall(r"\{(\w):([^}]*)\}|([^{]+)", marked):
        text += inside or plain
        tags += [MARK[mark] if mark else "text"] * len(inside or plain)
    return text, tags


TEXTS = [unmark(marked)[0] for marked in CHAINS]


@pytest.mark.parametrize("marked", CHAINS)
def test_characters(marked):
    text, tags = unmark(marked)
    assert tag(text) == tags


def bpe(texts):
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bare.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=300, special_tokens=["<eos>"], initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<eos>")


def metaspace(texts):
    bare = Tokenizer(models.Unigram())
    bare.pre_tokenizer = pre_tokenizers.Metaspace()
    bare.decoder = decoders.Metaspace()
    bare.train_from_iterator(texts, trainers.UnigramTrainer(vocab_size=120, special_tokens=["<eos>"]))
    return PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<eos>")


def words(texts):
    bare = Tokenizer(models.WordLevel(unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    bare.decoder = decoders.Fuse()
    bare.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=["<unk>", "<eos>"]))
    return PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<eos>")


@pytest.fixture(scope="module", params=[bpe, metaspace, words])
def tokenizer(request):
    return request.param(TEXTS)


@pytest.mark.parametrize("marked", CHAINS)
def test_tokens_take_the_first_tag_they_reach_into(tokenizer, marked):
    text, by_hand = unmark(marked)
    ids = tokenizer.encode(text, add_special_tokens=False)
    pieces = Pieces(tokenizer)(ids)
    assert "".join(pieces) == tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert len(pieces) == len(ids)
    at = 0
    for piece, tagged in zip(pieces, tag(pieces), strict=True):
        covered = [each for each in by_hand[at : at + max(1, len(piece))] if each != "text"]
        assert tagged == (covered[0] if covered else "text")
        assert tagged in TAGS
        at += len(piece)


def test_bytes_of_one_character_share_its_tag():
    tokenizer = bpe(["plain text only"])
    ids = tokenizer.encode("12−7=5", add_special_tokens=False)
    pieces = Pieces(tokenizer)(ids)
    assert pieces == ["1", "2", "", "", "−", "7", "=", "5"]
    assert tag(pieces) == ["operand", "operand", "operator", "operator", "operator", "operand", "equals", "result"]


def test_special_tokens_have_no_text_and_are_tagged_by_place():
    tokenizer = bpe(["plain text only"])
    ids = [
        *tokenizer.encode("The answer is 5", add_special_tokens=False),
        tokenizer.eos_token_id,
        tokenizer.eos_token_id,
    ]
    assert tag(Pieces(tokenizer)(ids))[-3:] == ["answer", "after_answer", "after_answer"]


def test_bytes_that_are_no_text_do_not_stop_it():
    tokenizer = bpe(["plain text only"])
    broken = tokenizer.encode("€", add_special_tokens=False)[:1] * 50
    ids = [*broken, *tokenizer.encode(" 3 + 2 = 5", add_special_tokens=False)]
    pieces = Pieces(tokenizer)(ids)
    assert "".join(pieces).endswith(" 3 + 2 = 5")
    assert tag(pieces)[-1] == "result"


@pytest.mark.realdata
def test_a_published_sentencepiece_tokenizer(shared_folder):
    tokenizer = AutoTokenizer.from_pretrained(shared_folder / "models" / "stories260k")
    for marked in CHAINS:
        text, by_hand = unmark(marked)
        pieces = Pieces(tokenizer)(tokenizer.encode(text, add_special_tokens=False))
        assert "".join(pieces) == text
        assert set(tag(pieces)) - {"text"} == set(by_hand) - {"text"}
