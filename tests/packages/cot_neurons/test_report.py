"""Every number on the page is one of the tables; the page asks nothing of anyone and runs nothing of the model's."""

import re
from pathlib import Path

import pytest
from cot_neurons.cli import app
from cot_neurons.options import ReportOptions
from cot_neurons.pages.evidence import Evidence
from cot_neurons.pages.page import page
from cot_neurons.report import report
from runkit.page import numbers
from typer.testing import CliRunner

from tests.packages.cot_neurons import handmade_story as story
from tests.shared.runkit.page_reader import Node, read

SECTIONS = ["asked", "answers", "neurons", "labelled", "layers", "active", "ablated", "attributed", "stable", "cards",
            "chains", "made"]  # fmt: skip
ABSENT = ["labelled", "active", "ablated", "attributed", "stable"]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page(Evidence.read(ReportOptions(**story.told(tmp_path_factory.mktemp("story")))))


@pytest.fixture(scope="module")
def tree(html: str) -> Node:
    return read(html)


def test_the_argument_stands_in_order(tree: Node):
    assert [node.attributes["id"] for node in tree.all("section")] == SECTIONS
    assert [node.attributes["href"] for node in tree.one("nav").all("a")] == [f"#{name}" for name in SECTIONS]
    assert not tree.all("p", class_="absent")


def test_accuracy(tree: Node):
    cot, text_only = tree.rows("accuracy")
    assert [cot[0], cot[2], cot[4], cot[5], cot[6], cot[7]] == ["cot", "83.3 %", "100.0 %", "0.0 %", "50.0 %", "6"]
    assert [text_only[0], text_only[2]] == ["text_only", "33.3 %"]
    low, high = map(float, re.findall(r"[\d.]+", cot[3]))
    assert low < 83.3 < high == 100
    dot = tree.one("table", id="accuracy").all("s")[1].attributes["style"]
    assert dot == "left:33.33%"


def test_one_problem_is_shown_under_every_prompt(tree: Node):
    """Item 1 is the first that one prompt got right and the other wrong."""
    prompts = tree.one("section", id="asked").all("article")
    assert ["reference answer 5: right" in each.text for each in prompts] == [True, False]
    shown = [each.one("p", class_="shown").text for each in prompts]
    assert shown[0] != shown[1]
    assert shown[0].startswith("Question: ")


def test_labels_and_their_controls(tree: Node):
    assert tree.rows("labels") == [
        ["rules", "add", "1", "0.75", "0.90", "0.70", "1 of 1"],
        ["rules", "<i>equals", "2", "0.38", "0.90", "0.70", "0 of 1"],
    ]
    assert [row[2:] for row in tree.rows("controls")] == [
        ["200", "30", "15.0 %"],
        ["200", "5", "2.5 %"],
        ["200", "1", "0.5 %"],
    ]
    assert tree.rows("agreement") == [["add", "rules and gpt", "3", "1", "2", "40", "0.61"]]
    assert "rules: 2 neurons labelled; rules: 1 neuron none" in tree.one("section", id="labelled").text


def test_the_map_counts_neurons(tree: Node):
    head = [cell.text for cell in tree.one("table", id="map").one("thead").all("th")]
    assert head == ["", "<i>equals", "add"]
    assert tree.rows("map") == [["layer 1", "1", "1"], ["layer 0", "1", ""]]


def test_activity(tree: Node):
    assert [[row[0], *row[2:]] for row in tree.rows("activity-add")] == [
        ["cot", "1.50", "[1.25, 1.75]", "1.60", "–", "83.3 %"],
        ["text_only", "0.50", "[0.25, 0.75]", "0.60", "–", "33.3 %"],
    ]
    assert tree.rows("correlations")[0] == ["add", "prompts", "2", *["0.80", "[0.20, 0.90]", "0.80"] * 2]
    assert "for 1 of 2 concepts" in tree.one("header").text


def test_ablation(tree: Node):
    assert tree.rows("ablation-1-written") == [["add", "2", "−0.25", "−0.41", "0"]]
    assert tree.rows("ablation-1-logp") == [["add", "2", "−0.004"]]
    assert tree.rows("ablation-1-odds") == [["add", "2", "−1.50"]]
    assert [node.text for node in tree.one("table", id="ablation-1-written").all("strong")] == [
        "−0.41"
    ]  # strict is matched
    rows = tree.rows("ablated-1-add-1-written")
    assert [row[0] for row in rows] == ["strict", "solved +"]  # nothing changed what is solved of -
    assert rows[1][2:] == ["−0.41", "[−0.46, −0.36]", "−0.10", "100 / 100 / 50"]
    assert len(tree.one("table", id="ablated-1-add-1-written").all("i")) == 2 * len(story.DRAWS)
    header = tree.one("header").text
    # its own operator, more than the draws and more than any other operator
    assert "Mode mean, equations solved: for 1 of 1 operator the concept’s neurons hurt their own operator" in header
    assert "than at least 95 % of random and matched draws do, and more than any other operator: add −0.41" in header
    assert "add −0.41 (others 0)" in header
    assert f"Draws of each kind: {len(story.DRAWS)}." in tree.one("section", id="ablated").text


def test_attribution(tree: Node):
    assert [row[:4] for row in tree.rows("attributions")] == [
        ["+", "L1N7+", "add, <i>equals", "+3.50"],
        ["+", "L0N3−", "<i>equals", "+0.50"],
        ["equals", "L0N3−", "<i>equals", "+2.25"],
    ]
    assert tree.rows("attributions")[0][4:] == ["[3.40, 3.60]", "–", "–", "12"]
    assert [row[4] for row in tree.rows("contrasts")] == ["+0.70", "−0.30"]  # whose interval leaves out 0
    assert "The largest of 2 differences, out of 3" in tree.one("section", id="attributed").text


def test_stability(tree: Node):
    rows = {tuple(row[:2]): row[2:] for row in tree.rows("stability")}
    assert rows["draws of items", "5"] == ["0.50 ± 0.35"] * 2
    assert rows["halves of the items", "10"] == ["0.70 ± 0.14"] * 2
    assert rows["smaller k", "2"] == ["0.45"] * 2
    assert rows["cot, text_only", "–"] == ["0.30"] * 2
    assert "overlap by 0.70 (by chance 0.050)" in tree.one("header").text
    assert len(tree.one("section", id="stable").one("svg").all("polyline")) == 3


def facts_of(card: Node) -> list[str]:
    return [node.text for node in card.all("dt")]


def test_cards(tree: Node):
    cards = {card.one("span", class_="neuron").text: card for card in tree.one("section", id="cards").all("article")}
    add, equals = cards["L1N7+"], cards["L0N3−"]
    contexts = add.all("li")
    assert [node.text for node in add.all("mark")] == [" +"] * 4
    assert [each.one("small").text for each in contexts] == [f" +{10 + row}.0 · item {row}" for row in (5, 4, 3, 2)]
    assert contexts[0].one("span", class_="chain").text == "<b>so 2 + 3 =5⏎"
    assert [node.text for node in equals.all("mark")] == [" ="] * 4
    assert "add (0.75), <i>equals (0.25)" in add.one("h3").text
    facts = dict(zip((n.text for n in add.all("dt")), (n.text for n in add.all("dd")), strict=True))
    assert facts["add, rules"] == "AUROC 0.90 [0.80, 0.97], specific 0.70"
    assert facts["add active per token"] == "cot 1.50 · text_only 0.50"
    assert not [fact for fact in facts_of(equals) if "ablated" in fact]  # L0N3 was in no ablation
    assert (
        facts["add ablated (mean × 1), this neuron among them"]
        == "equations solved (random draws): + −0.41 (+0.01), - 0 (+0.01)"
    )
    assert facts["attribution"].startswith("+3.50 logits to “+”")
    assert [node.text for node in add.one("span", class_="less").all("code")] == ["b"]


def test_chains(tree: Node):
    """Only the label that held up on other chains is marked: add, at the one token where its neuron was strongest."""
    chains = tree.one("section", id="chains").all("article")
    assert [each.one("h3").text for each in chains][:2] == [
        "Item 0 right; reference answer 5",
        "Item 4 wrong; reference answer 5",
    ]
    tokens = chains[0].one("p", class_="tokens").all("span", class_="tok")
    assert ["".join(n.text for n in each.all("span", class_="t")) for each in tokens] == [
        token.replace("\n", "⏎") for token, _ in story.CHAIN
    ]
    assert [each.all("span", class_="t")[0].attributes["class"] for each in tokens] == [
        f"t {tag}" for _, tag in story.CHAIN
    ]
    assert [each.one("span", class_="marks").text for each in tokens] == ["", "", "A", "", "", "", ""]
    assert tokens[2].attributes["title"] == "L1N7+ add +10.0"
    assert tree.rows("chain-0")[2] == ["2", " +", "operator", "L1N7+ add +10.0"]


def test_text_of_models_stays_text(html: str, tree: Node):
    assert "<script>alert" not in html
    assert len(tree.all("script")) == 1
    assert not [node for name in ("b", "i") for node in tree.all(name) if not node.attributes]  # nor <b> or <i>
    assert "<script>alert('x')</script> & \"quoted\"" in tree.one("section", id="asked").text
    assert "\u202e" not in html


def test_the_page_asks_nothing_of_anyone(html: str, tree: Node):
    def attributes(node: Node):
        yield from node.attributes.items()
        for child in node.children:
            if isinstance(child, Node):
                yield from attributes(child)

    for name, value in attributes(tree):
        assert name not in ("src", "srcset", "action", "background", "data", "ping")
        assert not name.startswith("on")
        if name == "href":
            assert value is not None
            assert value.startswith("#")
    style, script = tree.one("style").text, tree.one("script").text
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"fetch|XMLHttp|import\(|localStorage|cookie|innerHTML", script)
    assert "://" not in html
    policy = tree.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert len(html) < 100_000


def test_everything_can_be_read_without_a_script(tree: Node):
    """Nothing is hidden from the start, and the script adds no content: cards and tables are elements of the page."""
    assert not [node for node in tree.all("article") if "hidden" in node.attributes]
    assert not tree.all("select")
    assert not tree.all("noscript")
    assert len(tree.one("section", id="cards").all("article")) == 2


def test_missing_stages_are_left_out_and_said(tmp_path: Path):
    told = story.told(tmp_path)
    bare = read(page(Evidence.read(ReportOptions(items=told["items"], neurons=told["neurons"]))))
    assert [node.attributes["id"] for node in bare.all("section")] == SECTIONS
    for name in SECTIONS:
        absent = bare.one("section", id=name).all("p", class_="absent")
        assert len(absent) == (name in ABSENT), name
    assert "cot-neurons ablate was named (--ablation)" in bare.one("section", id="ablated").text
    head = [cell.text for cell in bare.one("table", id="map").one("thead").all("th")]
    assert head == ["", "text"]  # without labels, the kind of token that discover gives
    assert bare.one("section", id="cards").all("article")


def test_labels_that_say_nothing(tmp_path: Path):
    """A judge may label no neuron at all; then there are no cards, and the page says so."""
    told = story.told(tmp_path)
    labels = story.table(told["labels"], "labels").clear()
    rest = {name: story.table(told["labels"], name) for name in ("verdicts", "controls")}
    empty = story.run(tmp_path / "none", "cot-neurons.label", labels=labels, **rest)
    tree = read(page(Evidence.read(ReportOptions(items=told["items"], neurons=told["neurons"], labels=str(empty)))))
    assert "No neuron has a label" in tree.one("section", id="cards").text
    assert tree.rows("labels") == []


def test_the_stage_writes_the_page_and_the_same_bytes_again(workplace: Path):
    told = story.told(workplace)
    one, other = (report(ReportOptions(**told, out=workplace / name)) for name in ("one", "other"))
    assert (one / "report.html").read_bytes() == (other / "report.html").read_bytes()
    made = read((one / "report.html").read_text("utf-8")).rows("runs")
    assert [row[0] for row in made] == [
        "infer",
        "infer",
        "discover",
        "label",
        "activity",
        "attribute",
        "ablate",
        "stability",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": "discover"}, ["--labels", "cot-neurons.discover", "cot-neurons.label"]),
        ({"labels": "other-label"}, ["--labels", "'other'", "'toy'"]),
        ({"items": "infer-cot,other-infer"}, ["--items", "'other'"]),
        ({"activity": "activty"}, ["activty", "did you mean 'activity'"]),
        ({"stability": "unfinished"}, ["--stability", "unfinished", "no finished run"]),
        ({"neurons": "discover/tables/neurons.parquet"}, ["--neurons", "name the folder"]),
    ],
    ids=["stage", "model", "items-model", "misspelt", "unfinished", "file"],
)
def test_bad_input(workplace: Path, change: dict[str, str], words: list[str]):
    story.told(workplace)
    story.labelled(workplace / "other-label", "other")
    story.answers(workplace / "other-infer", "text_only", "other")
    (workplace / "unfinished" / "tables").mkdir(parents=True)
    options = {"items": "infer-cot", "neurons": "discover", **change}
    result = CliRunner().invoke(
        app, ["report", *(word for name, value in options.items() for word in (f"--{name}", value))]
    )
    output = " ".join(result.output.split())
    assert result.exit_code == 2
    assert "Traceback" not in output
    for word in words:
        assert word in output


def test_a_damaged_table_is_named(workplace: Path):
    told = story.told(workplace)
    table = Path(told["labels"]) / "tables" / "labels.parquet"
    table.write_bytes(table.read_bytes()[:-9])
    result = CliRunner().invoke(app, ["report", "--items", "infer-cot", "--neurons", "discover", "--labels", "label"])
    assert result.exit_code == 1
    assert "labels.parquet" in result.output


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0, "0"), (-0.0, "0"), (0.214, "0.21"), (-0.004, "−0.004"), (3e-7, "≈0"), (12.0, "12.00")],
)
def test_small_numbers_do_not_look_like_none(value: float | None, shown: str):
    assert numbers.real(value) == shown
    if value:
        assert numbers.signed(value) == (f"+{shown}" if value > 0.001 else shown)
