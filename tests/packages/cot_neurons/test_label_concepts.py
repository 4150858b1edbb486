"""The registry of concepts: what a user may write, what is said of mistakes, and which tokens spell a word."""

from pathlib import Path

import actkit
import pytest
from cot_neurons.labels import concepts
from cot_neurons.labels.concepts import Concept
from cot_neurons.labels.vocabulary import Vocabulary, plural, token_ids
from runkit.errors import DataError, UsageError
from specimens import families, planted
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

GOOD = "concepts:\n  - name: halves\n    definition: Halves.\n    tokens: [half]\n"


def test_the_papers_seven_ship():
    known = {concept.name: concept for concept in concepts.shipped()}
    assert list(known) == ["connections", "add", "subtract", "multiply", "division", "equals_to", "formula"]
    assert known["multiply"].tokens == ("mult", "multiply", "product", "times", "*", "x")
    assert known["equals_to"].tokens == ("=", "total", "equals", "equal", "equivalent")


def test_a_file_of_ones_own_stands_alone_or_builds_on_the_shipped(tmp_path: Path):
    file = tmp_path / "own.yaml"
    file.write_text(GOOD)
    assert [each.name for each in concepts.read(str(file))] == ["halves"]
    file.write_text(f"extends: shipped\n{GOOD}  - name: add\n    definition: Plus.\n    tokens: [plus]\n")
    found = {each.name: each for each in concepts.read(str(file))}
    assert len(found) == 8
    assert found["add"].tokens == ("plus",)
    assert found["halves"].definition == "Halves."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("tokens", "token"), ["line 4", "concept 1", "'token'", "did you mean 'tokens'"]),
        (GOOD.replace("concepts", "concept"), ["line 1", "'concept'", "did you mean 'concepts'"]),
        (GOOD.replace("[half]", "[]"), ["line 4", "concept 1", "tokens", "at least one"]),
        (GOOD.replace("half]", "half, ' ']"), ["line 4", "concept 1", "tokens 2", "empty"]),
        (GOOD.replace("half]", "half, 2]"), ["line 4", "tokens 2", "2 is no text", "quotes"]),
        (GOOD.replace("half]", "half, *]"), ["line 4", "no YAML", "quotes"]),
        (GOOD.replace("half]", "half, =]"), ["line 4", "no YAML", "quotes"]),
        (GOOD.replace("half]", "half"), ["line 5", "no YAML"]),
        (GOOD.replace("Halves.", "' '"), ["line 3", "concept 1", "definition", "a sentence"]),
        (GOOD.replace("name: halves", "name: two halves"), ["line 2", "name", "two halves", "letters"]),
        (GOOD + GOOD[10:], ["line 5", "concept 2", "halves", "concept 1 already"]),
        (GOOD + "    tokens: [quarter]\n", ["line 5", "tokens", "twice"]),
        (GOOD + "extends: mine\n", ["line 5", "extends", "shipped", "mine"]),
        (GOOD.replace("    definition: Halves.\n", ""), ["line 2", "concept 1", "definition", "missing"]),
        ("concepts: []\n", ["line 1", "concepts", "at least one"]),
        ("", ["concepts", "missing"]),
        ("- halves\n", ["dictionary"]),
    ],
    ids=lambda value: value.splitlines()[-1][:20] if isinstance(value, str) and value else None,
)
def test_mistakes_name_file_line_and_field(text: str, words: list[str]):
    with pytest.raises(DataError) as caught:
        concepts.parse(text, "own.yaml")
    for word in ["own.yaml", *words]:
        assert word in str(caught.value)


def test_a_missing_file():
    with pytest.raises(UsageError, match=r"nowhere\.yaml"):
        concepts.read("nowhere.yaml")


def _model(vocab: list[str], tokenizer: Tokenizer, **special: str) -> actkit.Model:
    config = LlamaConfig(
        vocab_size=len(vocab) + 3, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    return actkit.load(
        LlamaForCausalLM(config), tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    )


def _sentencepiece() -> actkit.Model:
    vocab = ["<unk>", "▁plus", "plus", "▁Plus", "▁PLUS", "▁sum", "▁sums", "+", "▁+", "surplus", "<0x2B>", "<0x41>"]
    inner = Tokenizer(models.BPE({word: i for i, word in enumerate(vocab)}, [], unk_token="<unk>", byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _model(vocab, inner, unk_token="<unk>")


def _byte_level() -> actkit.Model:
    vocab = ["<unk>", "Ġplus", "plus", "ĠPlus", "ĠPLUS", "Ġsum", "Ġsums", "+", "Ġ+", "surplus", "+Ċ", "Ã"]
    inner = Tokenizer(models.BPE({word: i for i, word in enumerate(vocab)}, [], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return _model(vocab, inner, unk_token="<unk>")


@pytest.mark.parametrize("make", [_sentencepiece, _byte_level])
def test_words_are_found_in_any_case_with_and_without_space_and_in_the_plural(make):
    vocabulary = Vocabulary(make())
    assert vocabulary.spell([11, 12, 14])[1:] == ["<12>", "<14>"], "rows of the head that no token has"
    assert vocabulary.ids("") == vocabulary.ids("<12>") == []
    assert vocabulary.ids("plus") == [1, 2, 3, 4]
    assert vocabulary.ids("SUM") == [5, 6]
    assert vocabulary.ids("+") == [7, 8, 10]
    assert vocabulary.ids("addition") == []
    assert vocabulary.texts([1, 2, 5, 7, 8]) == [" plus", "plus", " sum", "+", " +"]


def test_a_word_level_tokenizer(tmp_path: Path):
    model = actkit.load(planted.save(tmp_path / "planted"))
    vocabulary = Vocabulary(model)
    for word in ("plus", "equals", "+", "="):
        (token_id,) = vocabulary.ids(word)
        assert model.tokenizer.decode([token_id]) == f" {word}"


def test_tiny_models_of_other_families(tmp_path: Path):
    """Whatever a decoded token says is found, whole: the same ids that a look at every single token gives."""
    for family in ("gpt2", "gemma2"):
        model = actkit.load(families.save(family, tmp_path / family))
        vocabulary, tokenizer = Vocabulary(model), model.tokenizer
        told = [tokenizer.decode([i]).strip().lower() for i in range(vocabulary.size)]
        found = {word: [i for i, said in enumerate(told) if said == word] for word in ("the", "a", "+", "=")}
        assert sum(map(len, found.values())) >= 2
        assert {word: vocabulary.ids(word) for word in found} == found


def test_coverage_tells_what_is_covered_and_what_is_not():
    known = [
        Concept(name="add", definition="Plus.", tokens=("plus", "+", "addition")),
        Concept(name="formula", definition="Formulas.", tokens=("formula",)),
    ]
    vocabulary = Vocabulary(_byte_level())
    coverage = vocabulary.coverage(known)
    assert coverage["entry"].to_list() == ["plus", "+", "addition", "formula"]
    assert coverage["spellings"].to_list() == [["Ġplus", "plus", "ĠPlus", "ĠPLUS"], ["+", "Ġ+", "+Ċ"], [], []]
    assert token_ids(coverage) == {"add": [1, 2, 3, 4, 7, 8, 10]}
    with pytest.raises(UsageError, match=r"'formula'.*single token"):
        vocabulary.coverage(known[1:])


@pytest.mark.parametrize(
    ("word", "more"),
    [("sum", "sums"), ("minus", "minuses"), ("box", "boxes"), ("quantity", "quantities"), ("day", "days"),
     ("x", "x"), ("so", "so"), ("+", "+"), ("1/2", "1/2")],
)  # fmt: skip
def test_plurals(word: str, more: str):
    assert plural(word) == more
