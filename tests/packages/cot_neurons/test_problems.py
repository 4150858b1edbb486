"""Word problems of every known data set arrive in one form; what is none of them is said so."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cot_neurons.answers import parse_gold
from cot_neurons.cli import app
from cot_neurons.infer import infer
from cot_neurons.options import InferOptions
from cot_neurons.problems import GSM8KRow, WordRow
from pydantic import ValidationError
from runkit.data import load_rows
from runkit.errors import DataError
from specimens import families
from typer.testing import CliRunner

FORMS: dict[str, list[dict[str, Any]]] = {
    "svamp": [
        {"ID": "own-1", "Body": "A shelf holds 8 jars. Mia takes 3 away.", "Question": "How many jars are left?",
         "Equation": "( 8.0 - 3.0 )", "Answer": 5.0, "Type": "Subtraction", "question_concat": "unused"},
        {"ID": "own-2", "Body": "Two rows of 4 chairs stand in a hall", "Question": "How many chairs are there?",
         "Equation": "( 2.0 * 3.0 )", "Answer": 8.0, "Type": "Multiplication"},
    ],
    "asdiv": [
        {"body": "Five blue pens and four red pens lie on a desk.", "question": "How many pens lie there?",
         "solution_type": "Addition", "answer": "9 (pens)", "formula": "5+4=9"},
        {"body": "A rope of 3 meters is cut in 2 equal parts.", "question": "How long is one part?",
         "solution_type": "Common-Division", "answer": "1.5 (meters)", "formula": "3/2=1.5"},
    ],
    "multiarith": [
        {"question": " Kim baked 12 buns, ate 2 and packed the rest in 5 bags. How many per bag? ", "final_ans": "2"},
    ],
    "multiarith-published": [
        {"iIndex": 7, "lAlignments": [1, 2], "lEquations": ["X=((12.0-2.0)/5.0)"], "lSolutions": [2.0],
         "sQuestion": " Kim baked 12 buns, ate 2 and packed the rest in 5 bags. How many per bag? "},
    ],
    "gsm-symbolic": [
        {"id": 0, "instance": copy, "question": f"Leo has {copy + 2} marbles and finds 2. How many now?",
         "answer": f"{copy + 2} + 2 = <<{copy + 2}+2={copy + 4}>>{copy + 4}\n#### {copy + 4}", "original_id": 473,
         "original_question": "unused", "original_answer": "#### 0", "canary": "unused"}
        for copy in range(2)
    ],
}  # fmt: skip
READ = {
    "svamp": [
        ("own-1", "A shelf holds 8 jars. Mia takes 3 away. How many jars are left?", 5,
         "8 - 3 = 5\nThe answer is 5."),
        ("own-2", "Two rows of 4 chairs stand in a hall How many chairs are there?", 8, None),
    ],
    "asdiv": [
        ("rows-1", "Five blue pens and four red pens lie on a desk. How many pens lie there?", 9,
         "5 + 4 = 9\nThe answer is 9."),
        ("rows-2", "A rope of 3 meters is cut in 2 equal parts. How long is one part?", Fraction(3, 2),
         "3 / 2 = 1.5\nThe answer is 1.5."),
    ],
    "multiarith": [
        ("rows-1", "Kim baked 12 buns, ate 2 and packed the rest in 5 bags. How many per bag?", 2, None),
    ],
    "multiarith-published": [
        ("7", "Kim baked 12 buns, ate 2 and packed the rest in 5 bags. How many per bag?", 2,
         "(12 - 2) / 5 = 2\nThe answer is 2."),
    ],
    "gsm-symbolic": [
        ("0-0", "Leo has 2 marbles and finds 2. How many now?", 4, "2 + 2 = 4\nThe answer is 4."),
        ("0-1", "Leo has 3 marbles and finds 2. How many now?", 5, "3 + 2 = 5\nThe answer is 5."),
    ],
}  # fmt: skip


def _write(folder: Path, rows: list[dict[str, Any]], ending: str = "jsonl") -> Path:
    file = folder / f"rows.{ending}"
    if ending == "json":
        file.write_text(json.dumps(rows))
    elif ending == "parquet":
        pl.DataFrame(rows).write_parquet(file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize("form", FORMS)
def test_each_form(tmp_path: Path, form: str, ending: str):
    rows = load_rows(_write(tmp_path, FORMS[form], ending), GSM8KRow)
    assert [(row.id, row.question, row.gold, row.solution) for row in rows] == READ[form]


def test_a_question_is_not_taken_without_its_story():
    row = GSM8KRow.model_validate({"id": "1", "Body": "Ann has 2 cats.", "Question": "How many?", "Answer": "2"})
    assert row.question == "Ann has 2 cats. How many?"


@pytest.mark.parametrize(
    ("equation", "answer", "solution"),
    [
        ("( ( 105.0 + 71.0 ) - 137.0 )", 39.0, "(105 + 71) - 137 = 39"),
        ("( 2.5 * 4.0 )", 10.0, "2.5 * 4 = 10"),
        ("( 1.0 + 2.0 ) * ( 3.0 + 4.0 )", 21.0, "(1 + 2) * (3 + 4) = 21"),
        ("( 7.0 / 0.0 )", 7.0, None),
        ("( 7.0 // 2.0 )", 3.0, None),
        ("__import__('os')", 3.0, None),
        ("5.0", 5.0, None),
        ("", 5.0, None),
        (None, 5.0, None),
    ],
)
def test_an_equation_is_a_solution_only_where_it_comes_to_the_answer(equation, answer, solution):
    row = GSM8KRow.model_validate({"Body": "b", "Question": "q", "Equation": equation, "Answer": answer})
    assert row.solution == (solution and f"{solution}\nThe answer is {int(answer)}.")
    assert row.gold == answer


@pytest.mark.parametrize("answer", ["blue (balls)", "3 (cats); 4 (dogs)", "7:30 (pm)"])
def test_an_asdiv_answer_that_is_no_single_number_is_a_bad_row(tmp_path: Path, answer: str):
    bad = {**FORMS["asdiv"][0], "answer": answer, "formula": "3+4=7"}
    with pytest.raises(DataError, match=r"row 2, field 'answer'.*is no number"):
        load_rows(_write(tmp_path, [FORMS["asdiv"][1], bad]), GSM8KRow)
    assert len(load_rows(_write(tmp_path, [bad]), WordRow)) == 1


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({**FORMS["svamp"][0], "Question": None}, "question"),
        ({**FORMS["svamp"][0], "Answer": None}, "answer"),
        ({**FORMS["multiarith-published"][0], "lSolutions": [2.0, 3.0]}, "answer"),
        ({**FORMS["asdiv"][0], "answer": None}, "answer"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, row: dict[str, Any], field: str):
    with pytest.raises(DataError, match=f"row 1, field '{field}'"):
        load_rows(_write(tmp_path, [row]), GSM8KRow)


def test_a_row_of_no_form_is_told_the_columns_there_and_the_forms_known(workplace: Path):
    model = str(families.save("llama", workplace / "tiny"))
    file = _write(workplace, [{"prompt": "How many?", "label": 4}])
    result = CliRunner().invoke(app, ["infer", "--model", model, "--data", str(file)])
    output = " ".join(result.output.split())
    assert result.exit_code == 1
    assert "prompt, label" in output
    for known in ("GSM8K: question, answer", "SVAMP: Body, Question, Answer", "ASDiv", "MultiArith", "GSM-Symbolic"):
        assert known in output


def test_infer_takes_any_form(workplace: Path):
    model = str(families.save("llama", workplace / "tiny"))
    folder = infer(InferOptions(model=model, data=str(_write(workplace, FORMS["svamp"])), max_new_tokens=2))
    items = pl.read_parquet(folder / "tables" / "items.parquet")
    assert items.select("id", "question", "gold", "solution").rows() == [
        (name, question, str(gold), solution) for name, question, gold, solution in READ["svamp"]
    ]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "count", "worked"), [("svamp/SVAMP.json", 1000, 998), ("multiarith/MultiArith.json", 600, 600)]
)
def test_the_published_files(shared_folder: Path, file: str, count: int, worked: int):
    """Two of SVAMP's equations do not come to its answers."""
    raw = json.loads((shared_folder / "data" / file).read_text())
    rows = load_rows(shared_folder / "data" / file, GSM8KRow)
    assert [float(row.gold) for row in rows] == [
        row["Answer"] if "Answer" in row else row["lSolutions"][0] for row in raw
    ]
    assert (len(rows), sum(row.solution is not None for row in rows)) == (count, worked)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("6 + 12 = 18\n#### 18", 18),
        ("#### 2,880,000", 2880000),
        ("x\n#### -10", -10),
        ("18", 18),
        ("#### 0", 0),
        ("$5.50", 5.5),
    ],
)
def test_gold(answer, gold):
    assert GSM8KRow(question="q", answer=answer).gold == gold


@pytest.mark.parametrize("answer", ["", "  ", "####", "x\n#### ", "#### Ostin", "3 + 2 = 5 so five", "#### 5 apples"])
def test_gold_without_a_number_is_an_error_of_that_field(answer):
    with pytest.raises(ValidationError) as caught:
        GSM8KRow(question="q", answer=answer)
    assert [error["loc"] for error in caught.value.errors()] == [("answer",)]
    assert "####" in caught.value.errors()[0]["msg"]


def test_rows():
    assert GSM8KRow(id=7, question="q", answer=18, source="web").id == "7"
    with pytest.raises(ValidationError, match="question"):
        GSM8KRow(question=" \n", answer="18")
    assert WordRow(question="q", answer="She was.\n#### Ostin").gold == "Ostin"
    assert WordRow(question="q", answer="#### 5").gold == parse_gold("5") == 5
    with pytest.raises(ValidationError, match="empty"):
        WordRow(question="q", answer="####")
