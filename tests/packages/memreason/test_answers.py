"""Every edge of reading an answer, as a table made by hand; and whole outputs, as a model writes them."""

import pytest
from memreason import answers
from memreason.codec import Codec
from memreason.scheme import TokenScheme
from runkit.errors import DataError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TRUTH = ("True", "False")
LETTERS = ("A", "B", "C", "D", "E")
PLACES = ("A. bank", "B. library", "C. department store", "D. den", "E. new york")

STATED = [
    ("True", TRUTH, "True"),
    ("true", TRUTH, "True"),
    ("FALSE.", TRUTH, "False"),
    ("**True**", TRUTH, "True"),
    ('"false".', TRUTH, "False"),
    ("Yes", TRUTH, "True"),
    ("no.", TRUTH, "False"),
    ("true", ("yes", "no"), "yes"),
    ("False", ("Yes", "No"), "No"),
    ("True. The ship was named after the battle.", TRUTH, "True"),
    ("No, the true size is smaller.", TRUTH, "False"),
    ("true because it sank", TRUTH, "True"),
    ("B", LETTERS, "B"),
    ("b", LETTERS, "B"),
    ("(B)", LETTERS, "B"),
    ("B.", LETTERS, "B"),
    ("B)", LETTERS, "B"),
    ("B:", LETTERS, "B"),
    ("**B**", LETTERS, "B"),
    ("Option D", LETTERS, "D"),
    ("option (c).", LETTERS, "C"),
    ("(B) bank", LETTERS, "B"),
    ("B. bank", LETTERS, "B"),
    ("B. A revolving door", LETTERS, "B"),
    ("B because it is quiet", LETTERS, "B"),
    ("A, because B is closed", LETTERS, "A"),
    ("B", PLACES, "B"),
    ("(B) library", PLACES, "B"),
    ("B. library", PLACES, "B"),
    ("B library", PLACES, "B"),
    ("B (library)", PLACES, "B"),
    ("B. Library.", PLACES, "B"),
    ("library", PLACES, "B"),
    ("New  York.", PLACES, "E"),
    ("den", PLACES, "D"),
    ("Lyon", ("Paris", "Lyon"), "Lyon"),
    ("Paris, not Lyon", ("Paris", "Lyon"), "Paris"),
    ("10.0", ("10", "20"), "10"),
    ("1,000", ("100", "1000"), "1000"),
    ("72", (), "72"),
    ("$1,200.00", (), "1200"),
    ("72 apples", (), "72"),
    ("-0.50", (), "-0.5"),
    ("\u22125", (), "-5"),
    (".5", (), "0.5"),
    ("007", (), "7"),
    ("10%", (), "10"),
    ("5 million", (), "5 million"),
    ("3/4", (), "3/4"),
    ("12:30", (), "12:30"),
    (" Paris. ", (), "paris"),
    ("\uff11\uff12", (), "12"),
]

NONE_STATED = [
    (None, TRUTH),
    (None, ()),
    ("", ()),
    ("  . ", LETTERS),
    ("maybe", TRUTH),
    ("truely", TRUTH),
    ("True or False", TRUTH),
    ("Yes and no", TRUTH),
    ("no, yes", TRUTH),
    ("True, or false?", TRUTH),
    ("True", LETTERS),
    ("F", LETTERS),
    ("Option F", LETTERS),
    ("(F) far away", LETTERS),
    ("The den", LETTERS),
    ("The den", PLACES),
    ("Dog", LETTERS),
    ("A bank", LETTERS),
    ("A revolving door", LETTERS),
    ("A and B", LETTERS),
    ("A, B", LETTERS),
    ("A/B", LETTERS),
    ("A, or maybe B", LETTERS),
    ("(A) or (B)", LETTERS),
    ("D.C.", LETTERS),
    ("not B", LETTERS),
    ("None of the above", LETTERS),
    ("B. bank", PLACES),
    ("A (library)", PLACES),
    ("library, bank", PLACES),
    ("river", PLACES),
    ("same", ("A. same", "B. same")),
    ("Paris, or Lyon", ("Paris", "Lyon")),
    ("30", ("10", "20")),
]


@pytest.mark.parametrize(("line", "choices", "expected"), STATED)
def test_what_is_stated(line: str, choices: tuple[str, ...], expected: str) -> None:
    assert answers.read(line, choices) == expected


@pytest.mark.parametrize(("line", "choices"), NONE_STATED)
def test_what_states_none_of_the_choices_is_no_answer(line: str | None, choices: tuple[str, ...]) -> None:
    assert answers.read(line, choices) is None


def test_gold_is_spelled_as_answers_are() -> None:
    assert answers.canonical("B", PLACES) == answers.read("library", PLACES)
    assert answers.canonical("1,200", ()) == answers.read("$1200.0 ", ())
    with pytest.raises(DataError, match=r"answer 'F' is none of the choices 'A', 'B'"):
        answers.canonical("F", LETTERS)


OUTPUTS = [
    ("The ship was the Iwo Jima.\nThe answer is: true\n", TRUTH, "True"),
    ("The answer is: The den\n", LETTERS, None),
    ("The answer is: Option D\n", LETTERS, "D"),
    ("A bank is option A, so A.\n", LETTERS, None),  # no marker: no letter of the text, nor of the prompt, is taken
    ("I think it is True\n", TRUTH, None),
    ("The answer is: A\nNo, wait.\nThe answer is: B\n", LETTERS, "B"),
    ("The answer is:\n", LETTERS, None),
    ("The answer is: B", LETTERS, "B"),
    ("The answer is: Z\n", LETTERS, None),
]


@pytest.fixture(scope="module")
def codec() -> Codec:
    """A tokenizer of single bytes, so that nothing of an output is lost."""
    known = {each: number for number, each in enumerate(["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    bare = Tokenizer(models.BPE(known, []))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    return Codec(PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<eos>"), TokenScheme(arm="none"))


@pytest.mark.parametrize(("text", "choices", "expected"), OUTPUTS)
def test_whole_outputs(codec: Codec, text: str, choices: tuple[str, ...], expected: str | None) -> None:
    ids = codec.tokenizer(text)["input_ids"]
    assert codec.text(ids) == text
    assert answers.read(codec.parse([*ids, codec.eos]).answer, choices) == expected
