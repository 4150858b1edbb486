"""Traces written as ids and read back, whatever the tokenizer and the arm; what is malformed is said."""

from pathlib import Path
from typing import Any

import pytest
import specimens
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memreason import arms
from memreason.codec import Codec
from memreason.reading import Mark
from memreason.scheme import TokenScheme
from memreason.trace import KINDS, Item, Step, Trace
from runkit.errors import DataError, UsageError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.packages.memreason import made

ARMS = ("none", "hard", "general", "uniform", "random", "shuffled", "typed", "planned")
WORDS = [*made.PLACES, "lies", "in", "country", "another", "yes", "so"]


def _unigram() -> PreTrainedTokenizerFast:
    """Like SentencePiece: spaces are a letter, pieces by a unigram model, any byte can be written."""
    bare = Tokenizer(models.Unigram())
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", behavior="isolated"), pre_tokenizers.Metaspace(prepend_scheme="first")]
    )
    bare.decoder = decoders.Metaspace(prepend_scheme="first")
    alphabet = [chr(code) for code in range(32, 127)] + ["\n", "é", "ß", "—"]
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", initial_alphabet=alphabet
    )
    texts = [f"{step.text}\n" for item in made.items() for step in item.trace.steps]
    bare.train_from_iterator([*texts, *alphabet, *("a" + letter + "b" for letter in alphabet)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def tokenizers(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {
        "words": made.tokenizer(more=WORDS),
        "bytes": AutoTokenizer.from_pretrained(specimens.tiny_reasoner()),
        "pieces": _unigram(),
    }


def lines(alphabet: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One line, without space around it or doubled inside, as import makes them; not the answer's."""
    return alphabet.map(lambda text: " ".join(text.split())).filter(lambda text: text and "The answer is:" not in text)


WORDY = lines(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join))
PLAIN = lines(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40))
ANY = lines(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=40))
TEXTS = {"words": WORDY, "pieces": PLAIN, "bytes": ANY}


def traces(text: st.SearchStrategy[str], kinds: tuple[str, ...]) -> st.SearchStrategy[Trace]:
    steps = st.lists(st.builds(Step, st.sampled_from(kinds), text), max_size=5).map(tuple)
    return st.builds(Trace, text, steps, text)


def scheme(arm: Any, general: int = 1, special: int = 2) -> TokenScheme:
    return arms.scheme(arm, general=general, special=special, plans=3)


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("arm", ARMS)
def test_what_is_rendered_is_parsed(kind: str, arm: str, tokenizers: dict[str, Any]):
    codec = Codec(tokenizers[kind], scheme(arm))
    untold = arm in ("none", "general")

    @settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(traces(TEXTS[kind], ("",) if untold else codec.scheme.kinds))
    def check(trace: Trace) -> None:
        whole = codec.render(trace)
        parsed = codec.parse(whole.ids[whole.prompt :])
        assert (parsed.steps, parsed.answer, parsed.problems) == (trace.steps, trace.answer, ())
        assert all(parsed.formed)
        assert codec.question(whole.ids[: whole.prompt]) == trace.question
        assert whole.ids[: whole.prompt] == codec.prompt(trace.question)
        assert whole.labels == [-100] * whole.prompt + whole.ids[whole.prompt :]
        ends = [mark.end for mark in whole.marks]
        assert [mark.start for mark in whole.marks] == [0, *ends[:-1]]
        assert ends[-1] == len(whole.ids)
        shifted = [Mark(m.start - whole.prompt, m.end - whole.prompt, m.part, m.step) for m in whole.marks[1:]]
        assert list(parsed.marks) == shifted

    check()


@pytest.mark.realdata
@pytest.mark.parametrize("arm", ["none", "typed", "hard"])
def test_a_real_sentencepiece_tokenizer(arm: str, shared_folder: Path):
    words = AutoTokenizer.from_pretrained(shared_folder / "models/stories260k")
    codec = Codec(words, scheme(arm))

    @settings(max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(traces(ANY, ("",) if arm == "none" else KINDS))
    def check(trace: Trace) -> None:
        whole = codec.render(trace)
        parsed = codec.parse(whole.ids[whole.prompt :])
        assert (parsed.steps, parsed.answer, parsed.problems) == (trace.steps, trace.answer, ())
        assert codec.question(whole.ids[: whole.prompt]) == trace.question

    check()


def _typed() -> Codec:
    return Codec(made.tokenizer(more=WORDS), scheme("typed"))


def _ids(codec: Codec, text: str) -> list[int]:
    return codec.tokenizer.convert_tokens_to_ids(text.replace("|", "\n").split(" "))


@pytest.mark.parametrize(
    ("said", "steps", "answer", "formed", "problems"),
    [
        ("", (), None, (), ("there is no answer", "it does not end")),
        ("<eos>", (), None, (), ("there is no answer",)),
        ("Paris lies |", (("", "Paris lies"),), None, (False,),
         ("the block before step 1 is not whole", "there is no answer", "it does not end")),
        ("<general_0> <memory_0> Paris | <eos>", (("memory", "Paris"),), None, (False,),
         ("the block before step 1 is not whole", "there is no answer")),
        ("<general_0> <memory_1> <memory_0> Paris | <eos>", (("memory", "Paris"),), None, (False,),
         ("the block before step 1 is not whole", "there is no answer")),
        ("<memory_0> <memory_1> Paris | <eos>", (("memory", "Paris"),), None, (False,),
         ("the block before step 1 is not whole", "there is no answer")),
        ("<general_0> <memory_0> <reason_1> Paris | <eos>", (("memory", "Paris"),), None, (False,),
         ("the block before step 1 is not whole", "there is no answer")),
        ("<general_0> <memory_0> <memory_1> | <eos>", (("memory", ""),), None, (True,),
         ("step 1 is empty", "there is no answer")),
        ("<general_0> <memory_0> <memory_1> Paris | lies | <eos>", (("memory", "Paris \n lies"),), None, (True,),
         ("step 1 has several lines", "there is no answer")),
        ("<general_0> <answer_0> <answer_1> The answer is: yes | <eos>", (), "yes", (), ()),
        ("<general_0> <answer_0> <answer_1> yes | <eos>", (), None, (),
         ("the answer line does not begin with 'The answer is:'", "there is no answer")),
        ("<general_0> <answer_0> <answer_1> The answer is: | <eos>", (), None, (), ("there is no answer",)),
        ("<answer_0> <answer_1> The answer is: yes | <eos>", (), "yes", (),
         ("the block before the answer is not whole",)),
        ("<general_0> <answer_0> <answer_1> The answer is: yes | <general_0> <reason_0> <reason_1> so | <eos>",
         (("reason", "so"),), "yes", (True,), ("step 1 comes after the answer",)),
        ("<general_0> <answer_0> <answer_1> The answer is: no | <eos> <general_0> Paris", (), "no", (), ()),
    ],
)  # fmt: skip
def test_what_is_malformed_is_said(said: str, steps: Any, answer: Any, formed: Any, problems: Any):
    codec = _typed()
    parsed = codec.parse(_ids(codec, said) if said else [])
    read = tuple((step.kind, " ".join(step.text.split(" "))) for step in parsed.steps)
    assert [kind for kind, _ in read] == [kind for kind, _ in steps]
    assert [text.split() for _, text in read] == [text.split() for _, text in steps]
    assert (parsed.answer, parsed.formed, parsed.problems) == (answer, formed, problems)


@pytest.mark.parametrize(
    ("arm", "said", "kinds", "answer", "problems"),
    [
        ("hard", "[memory] Paris | so | The answer is: yes | <eos>", ("memory", ""), "yes", ("step 2 has no tag",)),
        ("none", "[memory] Paris | The answer is: yes | <eos>", ("",), "yes", ()),
        ("general", "<general_0> Paris | The answer is: yes | <eos>", ("",), None,
         ("step 1 has several lines", "there is no answer")),
    ],
)  # fmt: skip
def test_arms_without_kind_tokens(arm: str, said: str, kinds: Any, answer: Any, problems: Any):
    codec = Codec(made.tokenizer(more=WORDS), scheme(arm))
    parsed = codec.parse(_ids(codec, said))
    assert (tuple(step.kind for step in parsed.steps), parsed.answer, parsed.problems) == (kinds, answer, problems)


@pytest.mark.parametrize(
    ("trace", "said"),
    [
        (Trace("q", (Step("rag", "Paris"),), "yes"), "step 1: unknown kind 'rag'; this scheme knows memory, reason"),
        (Trace("q", (Step("memory", "so"), Step("reason", " ")), "yes"), "step 2 is empty"),
        (Trace("q", (Step("memory", "Paris\nRome"),), "yes"), "step 1 is not one line"),
        (Trace("q", (Step("memory", "Paris "),), "yes"), "step 1 is not one line without space"),
        (Trace("q", (Step("memory", "The answer is: no"),), "yes"), "step 1 begins with 'The answer is:'"),
        (Trace("q", (Step("memory", "Paris"),), None), "without an answer"),
    ],
)
def test_what_cannot_be_rendered_is_refused(trace: Trace, said: str):
    with pytest.raises(DataError, match=said):
        _typed().render(trace)


def test_words_that_look_like_tokens_are_text(tokenizers: dict[str, Any]):
    codec = Codec(tokenizers["bytes"], scheme("typed"))
    trace = Trace("is <memory_0> </s> a word", (Step("memory", "<reason_0> <general_0>"),), "<answer_0>")
    whole = codec.render(trace)
    assert [token for token in whole.ids if codec.owner(token)] == [
        *codec.block("memory"), *codec.block("answer")
    ]  # fmt: skip
    assert codec.parse(whole.ids[whole.prompt :]).steps == trace.steps


def test_a_tokenizer_without_what_a_trace_needs_is_refused():
    words = made.tokenizer()
    words.eos_token = None
    with pytest.raises(UsageError, match="no end-of-text token"):
        Codec(words, scheme("typed"))
    bare = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2, "</s>": 3}, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(UsageError, match="cannot write a newline"):
        Codec(PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>", eos_token="</s>"), scheme("none"))
    with pytest.raises(UsageError, match="no chat template"):
        Codec(made.tokenizer(), TokenScheme(arm="none", chat=True))


def test_a_chat_template_asks_the_question():
    words = made.tokenizer(more=["<user>", "<you>"])
    words.chat_template = "{% for m in messages %}<user> {{ m.content }} {% endfor %}<you>"
    codec = Codec(words, TokenScheme(arm="typed", general=1, special=1, chat=True))
    trace = made.items()[0].trace
    whole = codec.render(trace)
    told = codec.tokenizer.convert_ids_to_tokens(whole.ids[: whole.prompt])
    assert told == ["<user>", *trace.question.split(), "<you>"]
    assert codec.parse(whole.ids[whole.prompt :]).steps == trace.steps
    spelt = codec.tokenizer.convert_ids_to_tokens(codec.prompt("are <memory_0> in"))
    assert spelt == ["<user>", "are", "<unk>", "in", "<you>"]  # no special token comes from a question
    for template in ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "<you>"):
        words.chat_template = template
        with pytest.raises(UsageError, match="does not put a question in as it is, once"):
            Codec(words, TokenScheme(arm="typed", general=1, special=1, chat=True)).prompt("are")


def test_arms_dress_a_trace():
    item: Item = made.items()[0]
    kinds = ("memory", "memory", "reason")
    assert item.trace.kinds() == kinds
    for arm in ("hard", "typed"):
        assert arms.dressed(item.trace, arm, item.id, 0) == item.trace
    for arm, told in (("none", ""), ("general", ""), ("uniform", "step")):
        assert arms.dressed(item.trace, arm, item.id, 0).kinds() == (told,) * 3
    many = [f"item {number}" for number in range(400)]
    for arm in ("random", "shuffled"):
        drawn = [arms.dressed(item.trace, arm, key, 0) for key in many]
        assert drawn == [arms.dressed(item.trace, arm, key, 0) for key in many]
        assert drawn != [arms.dressed(item.trace, arm, key, 1) for key in many]
        assert {each.steps[0].text for each in drawn} == {item.trace.steps[0].text}
        first = sum(each.kinds()[0] == "memory" for each in drawn) / len(drawn)
        assert first == pytest.approx(1 / 2 if arm == "random" else 2 / 3, abs=0.08)
        if arm == "shuffled":
            assert {tuple(sorted(each.kinds())) for each in drawn} == {kinds}


def test_the_scheme_is_its_file(tmp_path: Path):
    made_scheme = TokenScheme(arm="typed", general=2, special=1, init="mean")
    assert made_scheme.tokens == ("<general_0>", "<general_1>", "<memory_0>", "<reason_0>", "<answer_0>")
    made_scheme.save(tmp_path)
    assert TokenScheme.load(tmp_path) == made_scheme
    assert TokenScheme.load(tmp_path / "elsewhere") is None
    (tmp_path / "scheme.json").write_text('{"arm": "typed", "special": -1}')
    with pytest.raises(DataError, match=r"scheme.json: special: .*greater than or equal to 0"):
        TokenScheme.load(tmp_path)
