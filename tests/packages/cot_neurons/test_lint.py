"""The lint finds each fault planted into a sound prompt, names its place, and says nothing of sound ones."""

import pytest
from cot_neurons import demonstrations, lint
from cot_neurons.prompts import VARIANTS, Prompt, build

LEAD = "Let's think step by step"


@pytest.mark.parametrize("variant", VARIANTS)
def test_own_prompts_are_sound(variant):
    for seed in range(25):
        for shots in (0, 1, 8):
            assert lint.prompt(build(variant, shots, seed), "own") == []


def test_own_demonstrations_are_sound():
    assert lint.source(demonstrations.own(), "own") == []
    assert all(len(getattr(demonstrations.own(), pool)) >= 8 for pool in demonstrations.POOLS)


def plant(variant, old, new):
    """A sound prompt with a fault put into one demonstration (not the first), and that one's number."""
    made = build(variant, 8, 5)
    blocks = made.template.split("\n\n")
    place = next(at for at, block in enumerate(blocks) if at > 0 and old in block)
    assert place < 8
    blocks[place] = blocks[place].replace(old, new, 1)
    return Prompt(made.variant, 8, 5, "\n\n".join(blocks), made.labels), place + 1


PLANTS = [
    ("cot", " = ", " = 9", "equation"),  # a wrong result
    ("equation_only", " = ", " = 9", "equation"),
    ("cot", "\nThe answer is ", "\nThe answer is 9", "answer"),  # the chain ends elsewhere
    ("text_only", "\nThe answer is ", "\nThe answer is 9", "answer"),
    ("wrong_label", "\nThe answer is ", "\nThe answer is 9", "answer"),
    ("ood_label", "\nThe answer is ", "\nThe answer is Mc", "answer"),
    ("cot", "The answer is", "the answer is", "answer"),  # the marker is lost
    ("cot", "\nThe answer is", "\nThe answer is 1.\nThe answer is", "answer"),
    ("answer_only", "\nThe answer is", "\nThe answer is:", "answer"),
    ("cot", "Let's", "Let’s", "separator"),
    ("cot", LEAD, "Let's think", "separator"),
    ("answer_only", "\nThe answer", f"\n{LEAD}\nThe answer", "answer"),
    ("cot", "Question: ", "Q: ", "question"),
    ("cot", ". ", ".\n", "question"),  # a hard-wrapped question
    ("cot", " + ", "+ ", "equation"),  # uneven spaces
    ("cot", " = ", "= ", "equation"),
    ("cot", ".\nThe answer", ". \nThe answer", "text"),
    ("cot", ". ", ".  ", "text"),
    ("cot", ". ", ".\t", "text"),
    ("cot", "\nThe answer", "\n“Good”\nThe answer", "text"),
]


@pytest.mark.parametrize(("variant", "old", "new", "field"), PLANTS)
def test_a_planted_fault_is_found_where_it_is(variant, old, new, field):
    prompt, place = plant(variant, old, new)
    faults = lint.prompt(prompt, "mine.txt")
    assert field in {fault.field for fault in faults}
    assert {fault.demo for fault in faults} == {place}
    assert {(fault.file, fault.variant) for fault in faults} == {("mine.txt", variant)}
    assert all(fault.what and fault.fix for fault in faults)


def test_a_true_equation_among_wrong_labels():
    right, wrong = build("cot", 3, 5), build("wrong_label", 3, 5)
    mixed = "\n\n".join([*right.template.split("\n\n")[:1], *wrong.template.split("\n\n")[1:]])
    faults = lint.prompt(Prompt("wrong_label", 3, 5, mixed, "wrong"), "mine.txt")
    assert {(fault.demo, fault.field) for fault in faults} == {(1, "equation")}
    assert "true among wrong labels" in faults[0].what


def test_demonstrations_that_run_together_and_gaps():
    sound = build("cot", 3, 5).template
    together = Prompt("cot", 3, 5, sound.replace("\n\n", "\n", 1))
    assert (1, "answer") in {(fault.demo, fault.field) for fault in lint.prompt(together, "f")}
    apart = Prompt("cot", 3, 5, sound.replace("\n\n", "\n\n\n", 1))
    assert [(fault.demo, fault.field) for fault in lint.prompt(apart, "f")] == [(0, "separator")]
    inside = Prompt("cot", 3, 5, sound.replace("\nThe answer", "\n\nThe answer", 1))
    assert {1, 2} <= {fault.demo for fault in lint.prompt(inside, "f")}


def test_the_query_is_held_to_the_demonstrations():
    sound = build("cot", 3, 5).template
    at = sound.rindex("Let's")
    curly = Prompt("cot", 3, 5, sound[:at] + "Let’s" + sound[at + 5 :])
    assert {(fault.demo, fault.field) for fault in lint.prompt(curly, "f")} == {
        (0, "query"), (1, "separator"), (2, "separator"), (3, "separator")}  # fmt: skip
    slip = lint.prompt(build("equation_only", 3, reference=True), "f")
    assert [(fault.demo, fault.field) for fault in slip] == [(n, "separator") for n in (1, 2, 3)]


def test_another_house_style_is_sound_if_it_is_one():
    template = "Answer briefly.\n\nQ: How many?\nA: 1 + 1 = 2.\nThe answer is 2.\n\nQ: {question}\nA:"
    assert lint.prompt(Prompt("mine", 1, 0, template), "f") == []
    assert len(lint.demos(template)) == 1


def source(steps, answer, question="How many?", pool="base"):
    return demonstrations.Source.model_validate({pool: [{"question": question, "steps": steps, "answer": answer}]})


SUM = {"text": "There are {eq}.", "expr": "2 + 3", "value": 5}


@pytest.mark.parametrize(
    ("given", "field", "what"),
    [
        (source([SUM | {"value": 6}], 6), "steps 1 value", "is 5, not 6"),
        (source([SUM], 6), "answer", "the last step gives 5"),
        (source([SUM | {"expr": "2 plus 3"}], 5), "steps 1 expr", "cannot be computed"),
        (source([SUM, "So 5 it is."], 5), "steps 2", "writes out the result 5 again"),
        (source([SUM, {"text": "{eq}", "expr": "5 + 1", "value": 6}], 6), "steps 2", "writes out the result 5 again"),
        (source([SUM | {"expr": "7 - 2"}], 5, pool="addition"), "steps 1 expr", "uses -"),
        (source([SUM | {"expr": "1 + 2 * 2"}], 5, pool="multiplication"), "steps 1 expr", "uses * +"),
    ],
)
def test_faults_of_structured_demonstrations(given, field, what):
    (fault,) = lint.source(given, "mine.yaml")
    assert (fault.demo, fault.field) == (1, field)
    assert what in fault.what
    assert "mine.yaml" in lint.spell(fault)


LONG = "Every morning a baker in the old town bakes forty round loaves and sells them at noon"


@pytest.mark.parametrize(
    ("asked", "row", "leaks"),
    [
        ("How many eggs?", "how  MANY eggs", True),
        ("How many eggs?", "How many eggs in all?", False),
        (f"{LONG}. How many?", f"They say: {LONG.lower()}! What is the price?", True),
        (f"{LONG}. How many?", " ".join(LONG.split()[:13]), True),
        (f"{LONG}. How many?", " ".join(LONG.split()[:12]) + " cakes", False),
    ],
)
def test_leaks(asked, row, leaks):
    text = f"Question: {asked}\n{LEAD}\n1 + 1 = 2.\nThe answer is 2.\n\nQuestion: {{question}}\n{LEAD}\n"
    faults = lint.leaks([Prompt("mine", 1, 0, text)], ["Who?", row], "f", "test.jsonl")
    assert [(fault.demo, fault.field) for fault in faults] == ([(1, "question")] if leaks else [])
    assert all("row 1 of test.jsonl" in fault.what for fault in faults)
