"""Prompt variants: counts, form, seeds, corruption; users' own files; the stage."""

import re
from typing import get_args

import polars as pl
import pytest
from cot_neurons import demonstrations, prompts, tables
from cot_neurons.answers import STOPS, strict
from cot_neurons.equations import equations
from cot_neurons.options import PromptsOptions, VariantName
from cot_neurons.prompts import BARE, VARIANTS, build, load
from runkit.errors import DataError, UsageError
from runkit.tables import read

WITH_DEMOS = [name for name in VARIANTS if name != "zero_shot"]
WITH_EQUATIONS = ["cot", "equation_only", "wrong_label", "add_only", "mult_only"]


def demos(prompt):
    """The demonstrations as (question, lines behind it), by the plain text rule of the format."""
    blocks = prompt.render("ASKED").split("\n\n")
    assert blocks[-1].startswith("Question: ASKED\n")
    return [(block.split("\n")[0].removeprefix("Question: "), block.split("\n")[1:]) for block in blocks[:-1]]


@pytest.mark.parametrize("variant", WITH_DEMOS)
@pytest.mark.parametrize("shots", [0, 1, 5, 8])
def test_counts(variant, shots):
    prompt = build(variant, shots)
    assert len(demos(prompt)) == prompt.shots == shots
    text = prompt.render("How many?")
    assert text.count("Question: ") == shots + 1
    assert text.count("The answer is ") == shots
    assert not set("’‘“”\t") & set(text)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_query_is_written_as_the_demonstrations(variant):
    prompt = build(variant)
    lead = [] if variant == "answer_only" else ["Let's think step by step"]
    for _, lines in demos(prompt) if variant != "zero_shot" else []:
        assert lines[: len(lead)] == lead
        assert re.fullmatch(r"The answer is [\w.]+\.", lines[-1])
        assert all(line.endswith(".") for line in lines[len(lead) :])
    assert prompt.render("Why?").endswith("Question: Why?\n" + "".join(line + "\n" for line in lead))


def test_variants_of_one_pool_show_the_same_questions_in_the_same_order():
    asked = {tuple(question for question, _ in demos(build(name, 5, 3))) for name in WITH_DEMOS if "_only" not in name}
    asked |= {tuple(q for q, _ in demos(build(name, 5, 3))) for name in ("text_only", "equation_only", "answer_only")}
    assert len(asked) == 1


def test_digests_are_stable_and_follow_the_seed():
    assert build("cot", 8, 0).digest == build("cot", 8, 0).digest
    assert len({build(name, 8, seed).digest for name in WITH_DEMOS for seed in range(5)}) == 5 * len(WITH_DEMOS)
    assert len(build("wrong_label").digest) == 16


@pytest.mark.parametrize("variant", ["cot", "equation_only", "add_only", "mult_only"])
def test_equations_are_true_and_lead_to_the_answer(variant):
    for _, lines in demos(build(variant)):
        found = list(equations("\n".join(lines)))
        assert found
        assert all(equation.holds for equation in found)
        assert found[-1].value == strict(lines[-1])


def test_operators_of_the_pools():
    def operators(variant):
        return {op for _, lines in demos(build(variant)) for e in equations("\n".join(lines)) for op in e.operators}

    assert operators("cot") == set("+-*/")
    assert operators("add_only") == {"+"}
    assert operators("mult_only") == {"*"}


def test_text_only_has_no_equation_but_all_results():
    for (_, bare), (_, full) in zip(demos(build("text_only")), demos(build("cot")), strict=True):
        assert "=" not in "".join(bare)
        results = [str(equation.value) for equation in equations("\n".join(full))]
        assert all(re.search(rf"\b{result}\b", "\n".join(bare)) for result in results)


def test_equation_only_has_the_equations_of_cot_and_nothing_else():
    for (_, bare), (_, full) in zip(demos(build("equation_only")), demos(build("cot")), strict=True):
        text = "\n".join(full)
        assert bare[1:-1] == [f"{text[e.start : e.end]}." for e in equations(text)]


@pytest.mark.parametrize("seed", range(20))
def test_wrong_labels_are_wrong_everywhere_and_agree_with_each_other(seed):
    right = dict(demos(build("cot", 8, seed)))
    for question, lines in demos(build("wrong_label", 8, seed)):
        found = list(equations("\n".join(lines)))
        truth = list(equations("\n".join(right[question])))
        assert not any(equation.holds for equation in found)
        assert found[-1].value == strict(lines[-1]) != strict(right[question][-1])
        assert [e.operators for e in found] == [e.operators for e in truth]
        replaced = {str(t.value): str(f.value) for t, f in zip(truth, found, strict=True)}
        kept = {number: number for number in re.findall(r"\d+", question)}
        swap = {**replaced, **kept}
        for false, true in zip(lines, right[question], strict=True):
            assert re.findall(r"\d+", false) == [swap.get(number, number) for number in re.findall(r"\d+", true)]
            assert re.sub(r"\d+", "#", false) == re.sub(r"\d+", "#", true)


def test_out_of_domain_labels_are_names_used_alike():
    for _, lines in demos(build("ood_label")):
        text = "\n".join(lines)
        answer = re.search(r"The answer is (\w+)\.", text)[1]
        assert answer in demonstrations.own().names
        assert text.count(answer) == 2
        assert not list(equations(text))


def test_a_label_does_not_depend_on_what_stands_beside_it():
    few, many = dict(demos(build("wrong_label", 2, 7))), dict(demos(build("wrong_label", 8, 7)))
    assert all(many[question] == lines for question, lines in few.items())


def test_rendering_squeezes_white_space_and_leaves_braces_alone():
    assert BARE.render(" How  many\n {x}? ") == "Question: How many {x}?\nLet's think step by step\n"
    assert BARE.stop == STOPS


def test_too_many_shots_and_unknown_variants():
    with pytest.raises(UsageError, match=r"--shots 99.*8"):
        build("cot", 99)
    with pytest.raises(UsageError, match="text_only"):
        build("text_onyl")


def test_the_originals_slip_is_in_one_variant_only():
    assert build("equation_only", 2, reference=True).render("Why?").endswith("\n\nQuestion: Why?\n\n")
    assert "step by step" not in build("equation_only", 2, reference=True).template
    assert build("cot", 2, reference=True) == build("cot", 2)


class TestOwnFiles:
    def test_none_and_names(self):
        assert load("none") == BARE
        assert load("text_only", 3, 1) == build("text_only", 3, 1)

    def test_a_text_stands_as_it_is(self, tmp_path):
        text = "Question: How many?\nLet's think step by step\n1 + 1 = 2.\nThe answer is 2."
        path = tmp_path / "mine.txt"
        path.write_text(text + "\n\n\n")
        prompt = load(str(path))
        assert prompt.render("Why?") == f"{text}\n\nQuestion: Why?\nLet's think step by step\n"
        assert (prompt.variant, prompt.shots) == ("mine", 1)

    def test_a_text_with_a_place_for_the_question_is_the_whole_prompt(self, tmp_path):
        path = tmp_path / "mine.txt"
        path.write_text("Be brief.\n\nQ: {question}\nA:")
        assert load(str(path)).render("Why?") == "Be brief.\n\nQ: Why?\nA:"
        assert load(str(path)).shots == 0

    def test_demonstrations_in_yaml_take_every_form(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text(
            "base:\n- question: How many?\n  steps: [{text: 'There are {eq}.', expr: 2 + 3, value: 5}]\n  answer: 5\n"
        )
        assert "There are 2 + 3 = 5.\nThe answer is 5." in load(str(path), 1).template
        assert "There are 5.\nThe answer is 5." in load(str(path), 1, variant="text_only").template
        names = load(str(path), 1, variant="ood_label").template
        assert re.search(r"2 \+ 3 = (\w+)\.\nThe answer is \1\.", names)

    @pytest.mark.parametrize(
        ("name", "content", "expected"),
        [
            ("a.txt", b"", "empty"),
            ("a.txt", b"\xff\xfe", "UTF-8"),
            ("a.txt", b"{question} {question}", "2 times"),
            ("a.yaml", b"base: [", "no YAML"),
            ("a.yaml", b"base:\n- {question: q, steps: [], answer: 1}", r"base, demonstration 1.*no step computes"),
            (
                "a.yaml",
                b"base:\n- {question: q, steps: [{text: 'x', expr: 1 + 1, value: 2}], answer: 2}",
                r"steps 1.*\{eq\}",
            ),
            (
                "a.yaml",
                b"base:\n- {question: q, steps: [{text: '{eq}', expr: '{r1} + 1', value: 2}], answer: 2}",
                r"\{r1\}",
            ),
            ("a.yaml", b"bases: []", "bases"),
        ],
    )
    def test_faulty_files_are_named(self, tmp_path, name, content, expected):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=expected) as caught:
            load(str(tmp_path / name), 1)
        assert name in str(caught.value)

    def test_no_such_file(self):
        with pytest.raises(UsageError, match=r"cott.*'cot'"):
            load("cott")


class TestStage:
    @pytest.fixture(autouse=True)
    def _alone(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def test_writes_all_variants_and_no_fault(self, tmp_path):
        data = tmp_path / "rows.jsonl"
        data.write_text('{"question": "How many ducks swim?", "answer": "#### 3"}\n')
        prompts.prompts(PromptsOptions(out=tmp_path / "run", shots=4, data=str(data)))
        table = read(tmp_path / "run/tables/prompts.parquet", tables.Prompts)
        assert table["variant"].to_list() == list(VARIANTS)
        assert read(tmp_path / "run/tables/lint.parquet", tables.Lint).is_empty()
        for variant, text, digest in table.select("variant", "text", "digest").iter_rows():
            built = build(variant, 4)
            assert (built.template, built.digest) == (text, digest)
            assert (tmp_path / f"run/prompts/{variant}.txt").read_text() == text

    def test_a_leak_and_a_false_equation_end_it(self, tmp_path):
        question = demonstrations.own().base[0].question
        (tmp_path / "rows.jsonl").write_text(f'{{"question": "{question.upper()}", "answer": "#### 12"}}\n')
        mine = tmp_path / "mine.txt"
        mine.write_text(f"Question: {question}\nLet's think step by step\nSo 2 + 2 = 5.\nThe answer is 5.\n")
        with pytest.raises(DataError, match=r"(?s)mine.txt.*demonstration 1.*2 \+ 2 = 5.*row 0 of .*rows.jsonl"):
            prompts.prompts(PromptsOptions(out=tmp_path / "run", prompt=str(mine), data=str(tmp_path / "rows.jsonl")))
        faults = pl.read_parquet(tmp_path / "run/tables/lint.parquet")
        assert faults["field"].to_list() == ["equation", "question"]

    def test_a_users_demonstrations_in_the_forms_they_allow(self, tmp_path):
        step = "{text: 'There are {eq}.', expr: 2 + 3, value: 5}"
        (tmp_path / "mine.yaml").write_text(f"base:\n- question: How many?\n  steps: [{step}]\n  answer: 5\n")
        prompts.prompts(PromptsOptions(out=tmp_path / "run", prompt="mine.yaml", shots=1))
        table = read(tmp_path / "run/tables/prompts.parquet", tables.Prompts)
        assert table["variant"].to_list() == [name for name in VARIANTS if name not in ("add_only", "mult_only")]

    def test_options_know_every_variant(self):
        assert get_args(VariantName) == ("all", *VARIANTS)

    def test_a_missing_file_is_bad_usage(self, tmp_path):
        with pytest.raises(UsageError, match=r"nothing\.yaml"):
            prompts.prompts(PromptsOptions(out=tmp_path / "run", prompt="nothing.yaml"))
