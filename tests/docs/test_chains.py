"""The commands of the tour run, and the chains on the papers' pages to the report they end with, all of it small.

Each command goes through its command line twice: as it stands on the page, and then with stand-ins for what is too
large or lies elsewhere. `STAND_INS` is all that differs.
"""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from runkit.options import command_line, parse
from specimens import families

from tests.docs.shell import ROOT, Line, lines
from tests.docs.test_commands import GROUPS
from tests.figures import coarse
from tests.packages.memreason import made

TINY, HUB = "specimen:tiny-reasoner", "meta-llama/"
PACKAGES = {"cot-neurons", "expgen", "grokked-reasoning", "memreason"}
FEW = {"limit": 2, "max_new_tokens": 16, "batch_size": 4}
STAND_INS: dict[str, dict[str, Any]] = {
    "cot-neurons.infer": {
        "model": TINY, "data": "specimen:arithmetic-test", "split": None, "shots": 1, "limit": 12, "max_new_tokens": 48,
    },
    "cot-neurons.discover": {"model": TINY, "limit": 6, "max_new_tokens": 48},
    "cot-neurons.label": {"model": TINY, "judge": "rules", "limit": 6},
    "cot-neurons.activity": {"model": TINY, "items": ("runs/cot", "runs/text"), "limit": 4},
    "cot-neurons.ablate": {
        "model": TINY, "concepts": ("add",), "limit": 2, "draws": 1, "min_auroc": 0, "max_new_tokens": 16,
    },
    "expgen.exemplars": {
        "model": "tiny", "data": ("texts.jsonl",), "ratios": (), "limit": None, "layout": "documents", "k": 3,
        "random": 4,
    },
    "expgen.verify": {"model": "tiny", "neurons": 2},
    "expgen.describe": {"explainer": "tokens", "limit": 6, "candidates": 1},
    "expgen.score": {"simulator": "tokens", "draws": 10, "shown": 2, "random": 2},
    "expgen.train-simulator": {"model": "tiny", "steps": 2, "rank": 2, "top": 2, "random": 1, "draws": 10},
    "memreason.toy": {"questions": 64, "dev": 4, "test": 8},
    "memreason.train": {"model": "base", "chat": False, "epochs": 1, "looks": 1, "look_at": 2, "rank": 2},
    "memreason.evaluate": FEW,
    "memreason.steer": FEW,
    "memreason.attention": {"limit": 2, "draws": 2, "batch_size": 4},
    "memreason.neurons": {"limit": 4, "draws": 20, "batch_size": 4},
    "memreason.errors": {"judge": "local:base", "limit": 1},
    "grokked-reasoning.data": {"profile": "default"},
    "grokked-reasoning.train": {
        "profile": "default", "layers": 2, "width": 16, "heads": 2, "batch_size": 32, "precision": "fp32",
        "compile": False, "max_steps": 4, "evaluate_every": 2, "save_every": 2, "dense_until": 0,
    },
    "grokked-reasoning.trace": {"limit": 6},
    "grokked-reasoning.emerge": {"limit": 20},
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that the pages name; neither MLflow nor figures are asked here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REASONSCOPE_MLFLOW", "off")
    monkeypatch.setattr(Figure, "savefig", coarse)
    families.save("llama", tmp_path / "tiny")
    made.base(tmp_path / "base")
    texts = [{"text": f"Tom has {n} red pens and finds {n % 7} blue cups. How many now?"} for n in range(40)]
    Path("texts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in texts))
    for split in ("train", "test"):
        Path(f"StrategyQA_{split}_clean.json").write_text(json.dumps([_published(each) for each in made.items(split)]))
    return tmp_path


def _published(item: Any) -> dict[str, Any]:
    tags = {"memory": "[rag]", "reason": "[reason]"}
    steps = [f"{tags[step.kind]}: {step.text}" for step in item.trace.steps]
    question = f"{item.trace.question} {item.split}"
    return {"question": question, "answer": "True", "cot_steps": steps, "split": item.split}


def run(line: Line) -> str:
    """Run it with its stand-ins; the stage's name."""
    name, stage, *flags = line.words
    command = GROUPS[name].commands[stage]
    given = command.make_context(stage, list(flags)).params
    options = parse(command.options_model, {key: value for key, value in given.items() if value is not None})
    changes = STAND_INS.get(f"{name}.{stage}", {})
    if not str(getattr(options, "model", HUB)).startswith(HUB):
        changes = {key: value for key, value in changes.items() if key != "model"}
    small = parse(command.options_model, options.model_dump() | changes)
    words = shlex.split(command_line(f"{name}.{stage}", small))
    assert not GROUPS[name].main(words[1:], standalone_mode=False), shlex.join(words)
    return f"{name}.{stage}"


@pytest.mark.parametrize("page", sorted(PACKAGES))
def test_a_page_runs(page: str, place: Path):
    ours = [line for line in lines(ROOT / "docs" / "reproduce" / f"{page}.md") if line.words[0] == page]
    last = next(i for i, line in enumerate(ours) if line.words[1] == "report")
    done = [run(line) for line in ours[: last + 1]]
    assert len(done) >= 8
    assert (place / "runs" / "page" / "report.html").is_file()


def test_the_tour_runs(place: Path):
    ours = [line for line in lines(ROOT / "docs" / "tour.md") if line.words[0] in PACKAGES]
    assert {run(line).partition(".")[0] for line in ours} == PACKAGES
    assert (place / "runs" / "page" / "report.html").is_file()
