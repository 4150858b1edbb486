"""Every number on the page is worked out by hand from the tables; the page asks nothing of anyone."""

import re
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from grokked_reasoning.cli import app
from grokked_reasoning.options import ReportOptions
from grokked_reasoning.pages import drawn
from grokked_reasoning.pages.evidence import Evidence
from grokked_reasoning.pages.page import page
from grokked_reasoning.pages.spread import told
from grokked_reasoning.report import report
from PIL import Image
from typer.testing import CliRunner

from tests import figures
from tests.packages.grokked_reasoning import told_runs
from tests.shared.runkit.page_reader import Node, read

SECTIONS = [
    "trained",
    "curves",
    "when",
    "outside",
    "evaluated",
    "circuit",
    "weighed",
    "hard-test",
    "paper-here",
    "made",
]
PLAIN, LOOPED, COMPARED = (
    "composition, 4 layers, width 64",
    "composition, 2 layers run 2 times, width 64",
    "comparison, 3 layers, width 64",
)


@pytest.fixture(scope="module", autouse=True)
def fine() -> Iterator[None]:
    """Figures as users see them."""
    with figures.drawn():
        yield


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> ReportOptions:
    return ReportOptions.model_validate(told_runs.story(tmp_path_factory.mktemp("story")))


@pytest.fixture(scope="module")
def evidence(story: ReportOptions) -> Evidence:
    return Evidence.read(story)


@pytest.fixture(scope="module")
def html(evidence: Evidence) -> str:
    return page(evidence)


@pytest.fixture(scope="module")
def tree(html: str) -> Node:
    return read(html)


def test_the_argument_stands_in_order(tree: Node):
    assert [node.attributes["id"] for node in tree.all("section")] == SECTIONS
    assert [node.attributes["href"] for node in tree.one("nav").all("a")] == [f"#{name}" for name in SECTIONS]
    assert not tree.all("p", class_="absent")


def test_runs_of_one_setting_differ_in_seeds_alone(tree: Node):
    assert [node.text for node in tree.one("section", id="trained").all("h3")] == [PLAIN, LOOPED, COMPARED]
    plain = dict(tree.rows("setting-1"))
    assert plain["world"].startswith("entities 48, relations 16, degree 16, phi 9")
    assert plain["runs"] == "3: model seeds 0, 1, 2; 2 worlds"
    assert "train_inferred 6,570" in plain["training rows"]
    assert dict(tree.rows("setting-2"))["model"].startswith("2 layers, run 2 times, width 64")


def test_when_it_fitted_and_grokked(tree: Node):
    rows = {row[0]: row[1:] for row in tree.rows("when")}
    # fitted at 400, 200, 400; ID grokked at 1600, 1600, never; ID at fitting by told_runs' curve, 0.2 where none comes
    curve = [told_runs._rise(400, 1600), told_runs._rise(200, 1600), 0.2]
    middle, low, high = (f"{value:.2f}" for value in (np.median(curve), min(curve), max(curve)))
    assert rows[PLAIN][:4] == ["400 (200 to 400)", f"{middle} ({low} to {high})", "1,600; 2 of 3 runs",
                               "6.0 (4.0 to 8.0); 2 of 3 runs"]  # fmt: skip
    assert rows[PLAIN][5:] == ["0.05 (0 to 0.15)", "–"]
    assert rows[LOOPED][:1] + rows[LOOPED][2:4] == ["800", "3,200", "4.0"]
    single = {row[0]: row for row in tree.rows("runs-trained")}
    assert single["plain1"][1:6:2] == ["1", f"{told_runs._rise(200, 1600):.2f}", "8.0"]
    assert single["plain2"][4:6] == ["–", "–"]


def test_out_of_distribution_beside_chance(tree: Node, story: ReportOptions):
    rows = {row[0]: row[2:] for row in tree.rows("outside")}
    assert rows[PLAIN][:3] == ["test_inferred_ood", "5.0 %", "[0.0, 15.0]"]
    assert rows[COMPARED][:3] == ["test_inferred_ood", "80.0 %", "–"]
    test = pl.read_json(Path(story.training[0]).parent / "values" / "test.json").filter(type="test_inferred_ood")
    answers = test.select(pl.col("target_text").str.extract(r"<attr_\d+_(\d)></a>$"))["target_text"]
    common = answers.value_counts()["count"].max() / len(answers)
    assert rows[COMPARED][3] == f"{100 * common:.1f} %"
    looped = tree.one("section", id="outside").text
    assert f"Looped, {LOOPED}: 35.0 %. Plain: {PLAIN} 5.0 % (0.0 % to 15.0 %)." in looped


def test_headlines_say_how_many_runs_and_facts(tree: Node):
    first, second, *_ = (node.text for node in tree.one("header").all("li"))
    assert first.startswith("Composition, 4 layers, width 64: 3 of 3 runs fitted their training facts (≥ 99 %)")
    assert "; 2 reached ID ≥ 90 % at step 1,600, 6.0 (4.0 to 8.0) times the step of fitting" in first
    assert "At the end OOD is 0.05 (0 to 0.15) on 40 facts (chance " in first
    assert "1 of 1 run fitted" in second


def test_curves_are_the_median_and_the_band_of_the_runs(evidence: Evidence):
    plain = evidence.settings[0]
    (axes,) = drawn.curves(plain).axes
    for kind in told_runs.TYPES:
        runs = np.array([
            each.curves.filter(pl.col("type") == kind, pl.col("step") > 0).sort("step")["accuracy"]
            for each in plain.runs
        ])  # fmt: skip
        (line,) = [each for each in axes.get_lines() if str(each.get_label()).startswith(f"{kind} (n=")]
        assert np.allclose(line.get_ydata(), np.median(runs, axis=0))
        shade = next(each for each in axes.collections if np.allclose(each.get_facecolor()[0][:3], _rgb(line)))
        heights = shade.get_paths()[0].vertices[:, 1]
        assert heights.min() == pytest.approx(runs.min())
        assert heights.max() == pytest.approx(runs.max())
    upright = [line.get_xdata()[0] for line in axes.get_lines() if len(set(line.get_xdata())) == 1]
    assert sorted(upright) == [200, 400, 400, 1600, 1600], "each run's events"


def test_figures_are_inside_the_page(tree: Node):
    sources = [node.attributes["src"] or "" for node in tree.all("img")]
    assert len(sources) == 3 + 2 * 2 + 1
    for source in sources:
        head, _, content = source.partition(",")
        assert head == "data:image/png;base64"
        assert min(Image.open(BytesIO(b64decode(content))).size) > 100
    assert all(node.attributes["alt"] for node in tree.all("img"))


def test_the_circuit_at_fitting_grokking_and_the_end(tree: Node):
    section = tree.one("section", id="circuit")
    head = [cell.text for cell in section.one("table", id="lens-traced").one("thead").all("th")]
    assert head == ["logit lens, MRR", "layer", "fitted, step 400", "ID grokked, step 1,600", "last, step 6,400",
                    "change", "facts"]  # fmt: skip
    rows = {row[0]: row[1:] for row in section.rows("lens-traced")}
    assert rows["bridge at r1"] == ["2", "0.30", "0.50", "0.70", "+0.40", "300"]
    assert "bridge at r2" not in rows
    causal = {row[0]: row[1:] for row in section.rows("effects-traced")}
    assert causal["state at r1, on answer"] == ["2", "0.30", "0.55", "0.80", "+0.50", "290"]
    both = {row[0]: row[1:] for row in section.rows("circuits-1")}
    assert both["MRR of bridge at r1"] == ["0.20 (0.10 to 0.30)", "0.70", "0.50 (0.40 to 0.60)", "2"]
    found = tree.one("header").text
    assert "step 400 to 6,400: MRR of bridge at r1 (layer 2) from 0.30 to 0.70; causal strength of the state" in found


def test_what_else_was_measured(tree: Node):
    assert tree.rows("evaluated")[0] == ["evaluated, step 6,400", "id_atomic", "50", "100.0 %", "–", "0.25"]
    assert [row[4] for row in tree.rows("capacity")] == ["2,400", "4,800", "9,600"]
    rows = tree.rows("hard")
    assert [row[0] for row in rows] == ["parrot <b>", "at random", "GPT-4-Turbo"]
    assert rows[0][2:] == [
        "40.0 %",
        "[32.0, 48.0]",
        "facts within two hops",
        "cot",
        "20.0 %",
        "10.0 %",
        "150",
        "this run",
    ]
    assert rows[2][2] == "31.3 %"


def test_the_paper_beside_what_is_here(tree: Node):
    rows = {row[0]: row[1:] for row in tree.rows("paper")}
    assert rows["composition: OOD accuracy"][1] == "4 layers, width 64, φ 9: 5.0 % (0.0 % to 15.0 %)"
    assert rows["composition, layers shared: OOD accuracy"][1] == "2 layers run 2 times, width 64, φ 9: 35.0 %"
    assert rows["complex reasoning: hard test"] == ["99.3 % of 150", "–"]
    assert "neither confirm nor refute" in tree.one("section", id="paper-here").text


def test_the_page_asks_nothing_of_anyone(html: str, tree: Node):
    (policy,) = [each.attributes["content"] or "" for each in tree.all("meta") if "http-equiv" in each.attributes]
    assert policy.startswith("default-src 'none';")
    assert not tree.all("link")
    assert not re.search(r"fetch|XMLHttp|import\(|innerHTML", tree.one("script").text)
    for node in tree.all("a"):
        assert (node.attributes["href"] or "").startswith("#")
    assert not re.search(r"url\(|@import|src=\"(?!data:)", html)
    assert "parrot <b>" not in html, "names are text, not markup"


def test_without_other_runs_the_page_says_how_to_get_them(story: ReportOptions):
    alone = ReportOptions(training=story.training[:1])
    absent = [node.text for node in read(page(Evidence.read(alone))).all("p", class_="absent")]
    assert [re.findall(r"grokked-reasoning [\w-]+|--\w+", each) for each in absent] == [
        ["grokked-reasoning evaluate", "--evaluation"], ["grokked-reasoning trace", "--tracing"],
        ["grokked-reasoning capacity", "--capacity"], ["grokked-reasoning llm-baseline", "--baseline"],
    ]  # fmt: skip


def test_settings_of_one_shape_are_told_apart(workplace: Path):
    world = told_runs.data(workplace / "world")
    runs = [told_runs.trained(workplace / str(decay), world, weight_decay=decay) for decay in (0.1, 0.3)]
    found = Evidence.read(ReportOptions(training=tuple(map(str, runs)))).settings
    assert [each.name for each in found] == [f"{PLAIN}, weight_decay 0.1", f"{PLAIN}, weight_decay 0.3"]


def test_a_world_that_does_not_tell_of_itself_is_named_so(workplace: Path):
    world = told_runs.data(workplace / "world")
    (world / "world.json").unlink()
    run = told_runs.trained(workplace / "run", world)
    tree = read(page(Evidence.read(ReportOptions(training=(str(run),)))))
    assert dict(tree.rows("setting-1"))["world"] == "its data does not tell (no world.json)"
    assert tree.rows("outside")[0][5] == "–", "no chance without a world"


def test_the_stage_writes_the_page_and_the_same_bytes_again(workplace: Path, story: ReportOptions):
    one, other = (report(story.model_copy(update={"out": workplace / name})) for name in ("one", "other"))
    assert (one / "report.html").read_bytes() == (other / "report.html").read_bytes()
    made = read((one / "report.html").read_text("utf-8")).rows("runs")
    assert [row[0] for row in made] == ["train"] * 5 + ["evaluate", "trace", "trace", "capacity", "llm-baseline"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training": "plain0,plain0"}, ["--training", "twice"]),
        ({"training": "evaluated"}, ["--training", "grokked-reasoning.evaluate", "grokked-reasoning.train"]),
        ({"tracing": "trced"}, ["trced", "did you mean 'traced'"]),
        ({"capacity": "nothing"}, ["--capacity", "no finished run"]),
    ],
    ids=["twice", "stage", "misspelt", "unfinished"],
)
def test_bad_input(workplace: Path, story: ReportOptions, change: dict[str, str], words: list[str]):
    for each in Path(story.training[0]).parent.iterdir():
        (workplace / each.name).symlink_to(each)
    (workplace / "nothing").mkdir()
    options = {"training": "plain0", **change}
    command = ["report", *(word for name, value in options.items() for word in (f"--{name}", value))]
    result = CliRunner().invoke(app, command)
    output = " ".join(result.output.split())
    assert result.exit_code == 2
    assert "Traceback" not in output
    for word in words:
        assert word in output


def test_a_damaged_figure_is_named(workplace: Path):
    world = told_runs.data(workplace / "world")
    run = told_runs.trained(workplace / "run", world)
    figure = told_runs.traced(workplace / "traced", run, world) / "figures" / "lens.png"
    figure.write_bytes(figure.read_bytes()[:-9])
    result = CliRunner().invoke(app, ["report", "--training", "run", "--tracing", "traced"])
    assert result.exit_code == 1
    assert "lens.png" in result.output


@pytest.mark.parametrize(
    ("values", "words"),
    [([], "–"), ([None], "–"), ([0.5], "0.50"), ([0.5, 0.5], "0.50"), ([0.1, 0.9, 0.2], "0.20 (0.10 to 0.90)"),
     ([0.2, None, 0.6], "0.40 (0.20 to 0.60); 2 of 3 runs")],
)  # fmt: skip
def test_spreads(values: list[float | None], words: str):
    assert told(values) == words


def _rgb(line: object) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return to_rgb(line.get_color())
