"""A pipeline on record in MLflow, told by hand: two students, their answers and models, an LLM's calls, a page."""

from pathlib import Path

import runkit
import torch
from memreason.errors import errors
from memreason.options import ErrorsOptions, ReportOptions, TrainOptions
from memreason.report import report
from reasonscope.options import MemreasonOptions
from safetensors.torch import save_file

from tests.packages.memreason import told_story
from tests.packages.memreason.test_errors_toy import gullible
from tests.shared.llmkit.server import FaultyServer

SEEDS = (0, 1)
LOSSES = (2.0, 1.0, 0.5)


def story(folder: Path) -> None:
    """All runs, below one run of the pipeline."""
    with runkit.stage("pipelines.memreason", MemreasonOptions(out=folder / "pipeline")):
        place = told_story.data(folder / "toy-world")
        students = [_taught(folder / f"student-{seed}", place, seed) for seed in SEEDS]
        asked = [
            str(told_story.evaluated(folder / f"asked-{seed}", place, student, "typed", seed, ("test",)))
            for seed, student in zip(SEEDS, students, strict=True)
        ]
        steered = str(told_story.steered(folder / "steered", place, students[0]))
        report(ReportOptions(evaluations=tuple(asked), steering=(steered,), out=folder / "page", shown=30))
        with FaultyServer(gullible) as server:
            judged = {"answers": asked[0], "data": str(place), "judge": "parrot", "base_url": server.url}
            errors(ErrorsOptions(**judged, key_variable="none", limit=1, out=folder / "errors"))


def _taught(folder: Path, place: Path, seed: int) -> Path:
    options = TrainOptions(data=str(place), model="specimen:tiny-reasoner", arm="typed", seed=seed, out=folder)
    with runkit.stage("memreason.train", options) as run:
        (folder / "student").mkdir()
        save_file({"w": torch.full((2,), float(seed))}, folder / "student" / "model.safetensors")
        run.model("student", kind="weights")
        for step, loss in enumerate(LOSSES):
            run.metrics({"loss": loss}, step=step)
        run.metrics({"valid_loss": 0.125 * (1 + seed)})
    return folder
