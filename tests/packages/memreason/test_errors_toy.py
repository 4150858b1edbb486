"""On a toy world the exact checker knows; so what a judge is worth can be counted."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from memreason.errors import errors
from memreason.options import ErrorsOptions
from memreason.trace import Item, Step, Trace
from memreason.world.content import Content

from tests.packages.memreason import made
from tests.packages.memreason.test_errors import metrics, table, wilson
from tests.shared.llmkit.server import Body, FaultyServer

pytestmark = pytest.mark.usefixtures("hurried")

CONTENT = Content(
    people=("Ada", "Bo", "Cid"), removed=(), years=("1901", "1902", "1903"), cities=("Elm", "Fir"), regions=("West",),
    born={"Ada": "1901", "Bo": "1902", "Cid": "1903"}, lives={"Ada": "Elm", "Bo": "Fir", "Cid": "Elm"},
    lies={"Elm": "West", "Fir": "West"}, mentor={},
)  # fmt: skip
A, B = "Ada was born in 1901", "we know the birth year of Bo is 1902"
TRUE = "so 1901 compared to 1902 is earlier"
PLANTS = {
    "right": ((A, B, TRUE), "yes", None, None),
    "false fact": ((A, "Bo was born in 1901", "so 1901 compared to 1901 is equal"), "no", "memory", 2),
    "left out": ((A,), "no", "memory", None),
    "does not follow": ((A, B, "so 1901 compared to 1902 is later"), "no", "reason", 3),
    "against it": ((A, B, TRUE), "no", "reason", None),
    "not readable": ((A, "Bo Bo Bo", TRUE), "no", "format", 2),
    "no answer": ((A, B, TRUE), None, "format", None),
}
LABELS = ("memory", "reason", "reason")


@pytest.fixture
def options(workplace: Path) -> ErrorsOptions:
    rows, said = [], []
    for name, (texts, answer, _, _) in PLANTS.items():
        steps = tuple(Step(LABELS[i], text) for i, text in enumerate(texts))
        gold = Trace("was Ada born before Bo ?", (Step("memory", A), Step("memory", B), Step("reason", TRUE)), "yes")
        rows.append(Item(name, "toy", "test", gold, ("yes", "no")))
        said.append(made.answer(rows[-1], gold._replace(steps=steps, answer=answer)))
    made.traces(workplace / "data", rows)
    CONTENT.save(workplace / "data" / "world.json")
    made.evaluation(workplace / "evaluated", said)
    return ErrorsOptions(
        answers=str(workplace / "evaluated"), data=str(workplace / "data"), key_variable="none", out=workplace / "run"
    )


def test_the_checker_blames_as_planted(options: ErrorsOptions, capsys: pytest.CaptureFixture[str]):
    assert errors(options.model_copy(update={"dry_run": True})) is None
    assert "nobody is asked" in capsys.readouterr().out
    folder = errors(options)
    blame = table(folder, "blame")
    assert {row["id"]: (row["blame"], row["step"]) for row in blame.iter_rows(named=True)} == {
        name: (what, step) for name, (_, _, what, step) in PLANTS.items() if what
    }
    steps = table(folder, "decoupling")
    assert set(steps["judge"]) == {"checker"}
    read = dict(steps.filter(step=2).select("id", "content").iter_rows())
    assert read == {name: "other" if name == "not readable" else "memory" for name in PLANTS if name != "left out"}
    numbers = metrics(folder)
    # Labels: step 1 memory, 2 and 3 reason; contents: memory, memory (once neither), reason.
    assert [numbers[f"checker/kept/{kind}"] for kind in ("memory", "reason")] == [1, pytest.approx(6 / 12)]
    assert numbers["checker/blame/memory"] == pytest.approx(2 / 6)
    assert (numbers["checker/blame/memory_low"], numbers["checker/blame/memory_high"]) == pytest.approx(wilson(2, 6))
    assert not (options.out or Path()).joinpath("exchanges.jsonl").exists()


def gullible(body: Body) -> str:
    """Says memory wherever there is an answer, and that every step infers."""
    asked = body["messages"][-1]["content"]
    if "The right answer" not in asked:
        return json.dumps({"contents": ["reason"] * len(re.findall(r"^\d+\. ", asked, re.MULTILINE))})
    missing = "(none that could be read)" in asked
    return json.dumps({"rationale": "so", "blame": "format" if missing else "memory", "step": None})


def test_a_judge_is_scored_against_the_checker(options: ErrorsOptions):
    with FaultyServer(gullible) as server:
        folder = errors(options.model_copy(update={"judge": "gull", "base_url": server.url}))
        prompts = [body["messages"][-1]["content"] for body in server.bodies]
    told = [prompt for prompt in prompts if "The right answer" in prompt]
    assert all("are true:\n- Ada was born in 1901\n- Bo was born in 1902\n" in prompt for prompt in told)
    assert not any("are true" in prompt for prompt in prompts if prompt not in told)
    counted = {(about, checker, said): n for about, checker, said, n in
               table(folder, "agreement").select("about", "checker", "said", "n").iter_rows()}  # fmt: skip
    assert {key[1:]: n for key, n in counted.items() if key[0] == "blame"} == {
        ("memory", "memory"): 2, ("reason", "memory"): 2, ("format", "memory"): 1, ("format", "format"): 1
    }  # fmt: skip
    contents = table(folder, "decoupling").filter(judge="checker")["content"].value_counts().rows()
    assert {key[1:]: n for key, n in counted.items() if key[0] == "content"} == {
        (content, "reason"): n for content, n in contents
    }
    numbers = metrics(folder)
    agreed, chance = 3 / 6, (2 * 5 + 2 * 0 + 2 * 1) / 36  # memory 2 and 5, reason 2 and 0, format 2 and 1
    assert numbers["agreement/blame"] == pytest.approx(agreed)
    assert numbers["agreement/blame_kappa"] == pytest.approx((agreed - chance) / (1 - chance))
    assert (numbers["agreement/blame_low"], numbers["agreement/blame_high"]) == pytest.approx(wilson(3, 6))
    infer = sum(n for content, n in contents if content == "reason")
    assert numbers["agreement/content"] == pytest.approx(infer / sum(n for _, n in contents))
    assert numbers["agreement/content_kappa"] == pytest.approx(0), "who says the same of all agrees by chance alone"
    blame = table(folder, "blame")
    assert set(blame["judge"]) == {"checker", "gull"}
    assert len(blame) == 2 * len(blame.filter(pl.col("judge") == "gull"))


def test_nothing_wrong_is_no_failure(options: ErrorsOptions, workplace: Path):
    data = pl.read_parquet(workplace / "evaluated" / "tables" / "answers.parquet").filter(correct=True)
    made.evaluation(workplace / "perfect", data.to_dicts())
    folder = errors(options.model_copy(update={"answers": str(workplace / "perfect")}))
    assert table(folder, "blame").is_empty()
    assert metrics(folder)["wrong"] == 0
    assert "confidence_auroc" not in metrics(folder)
    assert (workplace / "run" / "figures" / "errors.png").is_file()
