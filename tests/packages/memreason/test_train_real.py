"""Published annotations teach real models: what does not fit is counted, and every file it takes is there."""

from pathlib import Path

import pytest
from memreason.data import Data
from memreason.export import export
from memreason.importing import import_
from memreason.options import EvaluateOptions, ExportOptions, ImportOptions, TrainOptions
from memreason.student import Student
from memreason.train import train
from runkit.journal import intact
from runkit.record import StageRun
from transformers import AutoModelForCausalLM, AutoTokenizer


@pytest.mark.realdata
@pytest.mark.parametrize("model", ["stories260k", "specimen:tiny-reasoner"])
def test_a_few_steps_on_published_annotations(
    model: str, workplace: Path, shared_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(StageRun, "figure", lambda *_: None)
    source = shared_folder / "data/memory_reason_steps/StrategyQA_train_clean.json"
    import_(ImportOptions(data=(str(source),), limit=30, out=workplace / "data"))
    base = model if ":" in model else str(shared_folder / "models" / model)
    train(
        TrainOptions(
            data="data", model=base, epochs=0.5, batch_size=8, too_long="skip", look_at=1, looks=1, device="cpu",
            out=workplace / "run",
        )
    )  # fmt: skip
    student = Student.load(EvaluateOptions(data="data", model="run", device="cpu"))
    rows = Data.open("data").split("train")
    words = AutoTokenizer.from_pretrained(workplace / "run/student")

    def length(text: str, start: bool = False) -> int:
        return len(words(f"{text}\n", add_special_tokens=start)["input_ids"])

    told = [row.trace for row in rows if row.trace.steps]
    long = [
        trace
        for trace in told
        if length(f"Question: {trace.question}", True)
        + sum(3 + length(step.text) for step in trace.steps)
        + 3
        + length(f"The answer is: {trace.answer}")
        + 1
        > (student.model.context or 0)
    ]
    counted = {name: value for event in intact(workplace / "run/journal.jsonl") if event["event"] == "metrics"
               for name, value in event["values"].items()}  # fmt: skip
    assert (counted["without_steps"], counted["too_long"]) == (len(rows) - len(told), len(long))
    assert counted["traces"] == len(told) - len(long)
    assert bool(long) == (model == "stories260k")
    folder = export(ExportOptions(model="run", device="cpu", out=workplace / "out")) / "model"
    assert AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings().num_embeddings == len(words)
