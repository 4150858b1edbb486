"""The pages that people see, from runs that were told by hand, with text in them that would break a careless page."""

from collections.abc import Callable, Mapping
from pathlib import Path

from cot_neurons.options import ReportOptions as ChainOptions
from cot_neurons.pages.evidence import Evidence as Chain
from cot_neurons.pages.page import page as chain_page
from expgen.options import ReportOptions as DescribingOptions
from expgen.report import report as describe
from grokked_reasoning.options import ReportOptions as GrokkingOptions
from grokked_reasoning.pages.evidence import Evidence as Grokking
from grokked_reasoning.pages.page import page as grokking_page
from memreason.errors import errors
from memreason.options import ErrorsOptions
from memreason.options import ReportOptions as RecallOptions
from memreason.report import report as recall
from PIL import Image
from reasonscope.atlas import atlas as map_neurons
from reasonscope.demo import PARTS
from reasonscope.demo import page as demo_page
from reasonscope.options import AtlasOptions
from runkit.page import document

from tests.packages.cot_neurons import handmade_story
from tests.packages.expgen import made, told
from tests.packages.grokked_reasoning import told_runs
from tests.packages.memreason import told_story
from tests.pipelines import atlas_runs

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> red"
TEXTS = {"train": [HOSTILE, "the blue sea and a bird"], "valid": ["red"], "test": ["blue"]}
FEATURES = 25


def cot_neurons(folder: Path) -> Path:
    return _written(folder, chain_page(Chain.read(ChainOptions(**handmade_story.told(folder)))))


def grokked_reasoning(folder: Path) -> Path:
    return _written(folder, grokking_page(Grokking.read(GrokkingOptions.model_validate(told_runs.story(folder)))))


def memreason(folder: Path) -> Path:
    given = told_story.story(folder)
    blamed = errors(ErrorsOptions(answers=given["evaluations"][0], data=str(folder / "data"), out=folder / "errors"))
    options = RecallOptions(**given, errors=(str(blamed),), out=folder / "report", shown=30)
    return recall(options) / "report.html"


def expgen(folder: Path) -> Path:
    features = [made.on("red"), *[made.on("blue", negative=True)] * (FEATURES - 1)]
    exemplars = made.store(folder / "ex", TEXTS, features, layer=2)
    descriptions = told.described(folder / "de", exemplars, lambda row: [{"description": _said(row)}])
    scores = told.scored(folder / "sc", exemplars, descriptions, lambda row: row["neuron"] / FEATURES)
    given = {"exemplars": str(exemplars), "descriptions": str(descriptions), "scores": str(scores)}
    return describe(DescribingOptions(**given, out=folder / "report")) / "report.html"


def atlas(folder: Path) -> Path:
    (folder / "rows.jsonl").write_text("{}\n")
    rows = str(folder / "rows.jsonl")
    unread = {"data": rows, "task": "none", "text": "none", "texts": (rows,), "steps": rows, "out": folder / "atlas"}
    return map_neurons(AtlasOptions(**atlas_runs.all_of_them(folder), **unread)) / "report.html"


def demo(folder: Path) -> Path:
    found = {part.key: folder / part.key for part in PARTS}
    for place in found.values():
        (place / "figures").mkdir(parents=True)
        _written(place, document.page(HOSTILE, HOSTILE, [HOSTILE, "and more"], []))
    Image.new("RGB", (900, 300)).save(found["expgen"] / "figures" / "scores.png")
    return _written(folder, demo_page(found))


def _said(row: told.Row) -> str:
    return f"Crimson {HOSTILE}" if row["neuron"] == 0 else f"kind {row['neuron']}"


def _written(folder: Path, html: str) -> Path:
    (folder / "report.html").write_text(html, "utf-8")
    return folder / "report.html"


MADE: Mapping[str, Callable[[Path], Path]] = {
    "cot-neurons": cot_neurons,
    "grokked-reasoning": grokked_reasoning,
    "memreason": memreason,
    "expgen": expgen,
    "atlas": atlas,
    "demo": demo,
}
