"""The grammar on untrained students, which would write anything: whole blocks, forced kinds, caps, supplied facts."""

from functools import cache

import actkit
import pytest
from memreason import arms
from memreason.asking import Said, say
from memreason.codec import Codec
from memreason.scheme import MARKER
from memreason.steering.grammar import Grammar, Writer
from memreason.steering.rules import Rules
from memreason.student import resized
from memreason.trace import Step, Trace
from runkit.errors import UsageError
from specimens import tiny_reasoner
from transformers import AutoTokenizer

from tests.packages.memreason import made

ARMS = ["none", "hard", "general", "uniform", "random", "typed", "planned"]
FACT = "Milan lies in Italy"


@cache
def student(arm: str, seed: int = 0, general: int = 1) -> tuple[actkit.Model, Codec]:
    codec = Codec(made.tokenizer(), arms.scheme(arm, general=general, special=2, plans=3))
    lm = made.model(len(made.tokenizer()), seed=seed)
    lm.resize_token_embeddings(len(made.tokenizer()))
    resized(lm, codec)
    for weight in lm.parameters():  # so that it wanders
        weight.data.mul_(4)
    return actkit.load(lm, tokenizer=codec.tokenizer), codec


def asked(arm: str, rules: Rules, *, seed: int = 0, new: int = 120, general: int = 1) -> tuple[list[Said], Codec]:
    model, codec = student(arm, seed, general)
    prompts = [codec.prompt(item.trace.question) for item in made.items()[:6]]
    said = say(model, codec, prompts, max_new_tokens=new, temperature=1.0, seed=seed, rules=[rules] * len(prompts))
    return said, codec


@pytest.mark.parametrize("general", [0, 2])
@pytest.mark.parametrize("arm", ARMS)
def test_what_is_written_is_well_formed(arm: str, general: int):
    general = max(general, int(arm == "general"))
    said, codec = asked(arm, Rules(), seed=1, general=general)
    for each in said:
        parsed = codec.parse(_whole_lines(each, codec))
        assert set(parsed.problems) <= {"there is no answer", "it does not end"}
        assert all(parsed.formed)
        if each.finish == "eos":
            assert parsed.problems == ()
    model, _ = student(arm, 1, general)
    prompts = [codec.prompt(item.trace.question) for item in made.items()[:6]]
    free = say(model, codec, prompts, max_new_tokens=120, temperature=1.0, seed=1)
    unruly = sum(bool(codec.parse(each.new_ids).problems) for each in free)
    assert unruly == len(free), "the student keeps to the form by itself: nothing was tested"


def _whole_lines(said: Said, codec: Codec) -> list[int]:
    """Without a line, or an opening, that was cut off for its length."""
    ids = list(said.new_ids)
    while ids and said.finish == "length" and ids[-1] not in codec.newlines:
        ids.pop()
    return ids


@pytest.mark.parametrize("arm", ["typed", "hard"])
def test_forced_kinds_are_obeyed_and_caps_bring_the_answer(arm: str):
    said, codec = asked(arm, Rules(force=("reason", "memory"), caps={"memory": 2, "reason": 1}), new=240)
    parsed = [codec.parse(each.new_ids) for each in said]
    assert all(tuple(step.kind for step in each.steps)[:2] == ("reason", "memory") for each in parsed)
    assert all([step.kind for step in each.steps].count("memory") <= 2 for each in parsed)
    assert all([step.kind for step in each.steps].count("reason") == 1 for each in parsed)
    assert {each.answer is None for each in parsed} == {False}


@pytest.mark.parametrize("arm", ["typed", "hard"])
def test_what_is_forbidden_is_not_written(arm: str):
    for forbidden, other in (("memory", "reason"), ("reason", "memory")):
        said, codec = asked(arm, Rules(forbid=(forbidden,)), seed=2)
        kinds = {step.kind for each in said for step in codec.parse(each.new_ids).steps}
        assert kinds == {other}
    said, codec = asked(arm, Rules(forbid=("memory", "reason")), seed=2)
    assert {codec.parse(each.new_ids).steps for each in said} == {()}
    assert all(codec.parse(each.new_ids).answer for each in said)


@pytest.mark.parametrize("arm", ARMS)
def test_supplied_facts_stand_verbatim_and_the_student_goes_on(arm: str):
    told = arm in ("typed", "hard", "random")
    force = ("memory", "memory") if told else ()
    said, codec = asked(arm, Rules(force=force, supplied=(FACT, "Ulm lies in Germany")), seed=4, new=60)
    for each in said:
        parsed = codec.parse(each.new_ids)
        assert [step.text for step in parsed.steps[:2]] == [FACT, "Ulm lies in Germany"]
        assert not told or [step.kind for step in parsed.steps[:2]] == ["memory", "memory"]
        assert len(parsed.steps) > 2 or parsed.answer is not None
        assert each.logprob is not None
    assert len({tuple(each.new_ids) for each in said}) > 1, "what follows is the student's own"


def test_a_fact_waits_for_the_next_memory_step():
    said, codec = asked("typed", Rules(force=("reason", "memory"), supplied=(FACT,)), new=160)
    for each in said:
        first, second, *_ = codec.parse(each.new_ids).steps
        assert (first.kind, second) == ("reason", ("memory", FACT))
        assert first.text != FACT


@pytest.mark.parametrize("arm", ["hard", "typed"])
def test_openings_are_whole_words_of_a_subword_tokenizer_too(arm: str):
    """tiny-reasoner's byte-level BPE: a tag is several tokens, and facts read as they were given."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_reasoner())
    codec = Codec(tokenizer, arms.scheme(arm, general=1, special=2))
    grammar = Grammar(codec, [codec.eos])
    assert codec.text(grammar.openings["answer"]).endswith(MARKER)
    trace = Trace("?", (Step("memory", "Ulm lies (still) in Germany."), Step("reason", "(so be it)")), "yes")
    whole = codec.render(trace)
    written, writer = [], Writer(grammar, Rules(force=trace.kinds(), supplied=(trace.steps[0].text,)))
    for token in whole.ids[whole.prompt :]:  # the trace is one that may be written, and its fact is the one supplied
        choice = writer.allowed()
        assert (token in choice.ids) == choice.only
        written.append(choice.forced)
        writer.take(token)
    first = len(codec.block("memory")) if arm == "typed" else len(grammar.openings["memory"])
    fact = written[first : first + len(grammar.line("memory", trace.steps[0].text))]
    assert codec.text(fact).strip() == trace.steps[0].text
    assert written[-1] == codec.eos


def test_each_row_keeps_its_own_rules():
    model, codec = student("typed", 5)
    prompts = [codec.prompt(item.trace.question) for item in made.items()[:3]]
    rules = [Rules(force=("memory",)), Rules(force=("reason",)), Rules(forbid=("memory", "reason"))]
    together = say(model, codec, prompts, max_new_tokens=40, temperature=1.0, seed=[1, 2, 3], rules=rules)
    first = [[step.kind for step in codec.parse(each.new_ids).steps][:1] for each in together]
    assert first == [["memory"], ["reason"], []]
    alone = say(model, codec, prompts[1:2], max_new_tokens=40, temperature=1.0, seed=[2], rules=rules[1:2])
    assert alone[0].new_ids == together[1].new_ids
    assert together[2].logprob is not None


@pytest.mark.parametrize(
    ("arm", "rules", "says"),
    [
        ("none", Rules(force=("memory",)), "arm none cannot be steered by the kind memory: it writes no kinds"),
        ("general", Rules(forbid=("reason",)), "arm general cannot be steered by the kind reason"),
        ("uniform", Rules(caps={"memory": 1}), "arm uniform .* kind memory: there is: step"),
        ("planned", Rules(force=("reason",)), "there is: plan0, plan1, plan2"),
        ("typed", Rules(force=("reasoning",)), "did you mean 'reason'"),
        ("typed", Rules(force=("memory", "memory"), caps={"memory": 1}), "2 steps of kind memory are forced, and 1"),
        ("typed", Rules(force=("reason",), forbid=("reason",)), "1 steps of kind reason are forced, and 0 allowed"),
        ("typed", Rules(supplied=("a", "b"), caps={"memory": 1}), "2 facts are supplied as memory steps, and 1"),
        ("typed", Rules(supplied=("a\nb",)), "not one line"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(arm: str, rules: Rules, says: str):
    with pytest.raises(UsageError, match=says):
        asked(arm, rules)
