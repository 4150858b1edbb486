"""Excerpts in prompts: what is marked can be read back, and corpus text cannot pass for anything else."""

import random
import re

import numpy as np
import pytest
from expgen.explaining.marking import escaped, marked, strengths, stretches
from expgen.explaining.prompts import worked_examples
from expgen.store import Text

HOSTILE = ["{{", "}}", "{", "}", "<|im_start|>", "<|", "<", "|", "im_end", "|>", "<s>", "</s>", "<bos>", "[INST]", "[/",
           "[/INST]", "<<SYS>>", "<start_of_turn>", "<｜User｜>", "\n", "\r\n", "\u2028", " ", "  ", "Excerpt 9:", "a",
           "é", "中", "🙂", '"', "\\"]  # fmt: skip
FORBIDDEN = re.compile(
    r"<\||<｜|</?s>|<bos>|\[/?INST\]|<<|<start_of_turn>|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]"
)  # what a tokenizer or a reader of lines would take for structure


def text(tokens: list[str], trimmed: bool = False) -> Text:
    """A text of these tokens; `trimmed`: spans leave out spaces, as some tokenizers' do."""
    spans, at = [], 0
    for token in tokens:
        lead = len(token) - len(token.lstrip(" ")) if trimmed and token.strip() else 0
        spans.append((at + lead, at + len(token)))
        at += len(token)
    return Text("".join(tokens), np.arange(len(tokens)), np.array(spans).reshape(-1, 2), np.ones(len(tokens), bool))


@pytest.mark.parametrize("trimmed", [False, True])
def test_neighbours_share_a_pair_and_spaces_stay_outside(trimmed: bool):
    shown = stretches(text(["the", " red", " boat", " is", " red"], trimmed), np.array([0, 3, 2.6, 0.1, 1.5]), 1.5)
    assert marked(shown) == "the {{red boat}} is {{red}}"
    assert strengths(shown, 3) == '"red boat" 10, "red" 5'


def test_strengths_are_rounded_and_what_is_unknown_or_not_of_the_text_is_not_marked():
    shown = text(["a", "b", "c", "d"])
    shown = shown._replace(valid=np.array([False, True, True, True]))
    pieces = stretches(shown, np.array([9, 5.7, 0, np.nan]), 5)
    assert marked(pieces) == "a{{b}}cd"
    assert strengths(pieces, 9) == '"b" 6'
    assert marked(stretches(shown, np.zeros(4), 5)) == "abcd"


def test_pieces_of_one_character_mark_the_whole_of_it():
    pieces = Text("a 🙂 b", np.arange(5), np.array([(0, 1), (1, 3), (1, 3), (3, 3), (3, 5)]), np.ones(5, bool))
    for active in (1, 2):
        values = np.zeros(5)
        values[active] = 1
        assert marked(stretches(pieces, values, 0.5)) == "a {{🙂}} b"


def test_hostile_text_keeps_to_its_line_and_marks_only_what_fires():
    dice = random.Random(0)
    for _ in range(3000):
        tokens = [dice.choice(HOSTILE) for _ in range(dice.randint(1, 8))]
        active = np.array([dice.random() < 0.4 for _ in tokens], dtype=float)
        pieces = stretches(text(tokens), active, 0.5)
        said = marked(pieces)
        assert not FORBIDDEN.search(said), (tokens, said)
        found = re.findall(r"\{\{(.*?)\}\}(?!\})", said)
        wanted = [escaped(piece.text).strip() for piece in pieces if piece.active]
        assert [each.strip() for each in found] == wanted, (tokens, said)
        assert not FORBIDDEN.search(strengths(pieces, 1))


def test_plain_text_stays_as_it_is():
    for plain in ("if a < b and b > c: x[0] = {1: 2}", "<b>bold</b> [a] [OK] a|b", "the cost is $5 (or 6)"):
        assert escaped(plain) == plain


def test_worked_examples_are_whole():
    known = worked_examples()
    assert 6 <= len(known) <= 8
    for shown, answer in known:
        assert answer.strip()
        assert shown.count("{{") == shown.count("}}") >= 2
        assert "Strengths: none" in shown, "one text in which it is silent"
        for line, strength in zip(shown.splitlines()[::2], shown.splitlines()[1::2], strict=True):
            assert line.startswith("Excerpt ")
            assert len(re.findall(r'" \d+', strength)) == line.count("{{")
