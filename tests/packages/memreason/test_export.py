"""What `export` writes loads without us, and says what the student says."""

from pathlib import Path
from typing import Any

import pytest
import torch
from memreason.export import export
from memreason.options import EvaluateOptions, ExportOptions, TrainOptions
from memreason.scheme import TokenScheme
from memreason.student import Student
from memreason.train import train
from runkit.errors import UsageError
from runkit.record import StageRun
from scipy.stats import binomtest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.packages.memreason import made


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(StageRun, "figure", lambda *_: None)  # it takes longer than all else
    made.base(workplace / "base")
    made.traces(workplace / "data")
    return workplace


def learnt(place: Path, **given: Any) -> Path:
    small = {"data": "data", "model": "base", "epochs": 1, "batch_size": 5, "looks": 1, "look_at": 2, "rank": 4,
             "learning_rate": 1e-2, "device": "cpu", "out": place / "run"}  # fmt: skip
    return Path(str(train(TrainOptions.model_validate(small | given))))


@pytest.mark.parametrize("tied", [False, True])
def test_exported_it_says_the_same_by_transformers_alone(place: Path, tied: bool):
    made.base(place / "padded", pad_rows=9, tied=tied)
    learnt(place, model="padded", epochs=4)
    folder = export(ExportOptions(model="run", device="cpu")) / "model"
    student = Student.load(EvaluateOptions(data="data", model="run", device="cpu"))
    alone: Any = AutoModelForCausalLM.from_pretrained(folder)
    words = AutoTokenizer.from_pretrained(folder)
    assert not list(folder.glob("*.bin")) + list(folder.glob("adapter*"))
    for item in made.items()[:4]:
        ids = student.codec.prompt(item.trace.question)
        assert words(f"Question: {item.trace.question}\n")["input_ids"] == ids
        by_us = student.model.generate(student.model.encode([ids]), max_new_tokens=40).tokens[0]
        by_them = alone.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=40)
        assert by_them[0, len(ids) :].tolist() == list(by_us)
    assert alone.generation_config.do_sample is False
    assert alone.generation_config.eos_token_id in (3, [3])
    assert TokenScheme.load(folder) == student.scheme
    again = Student.load(EvaluateOptions(data="data", model=str(folder.parent), device="cpu"))
    assert torch.equal(again.model.hf.get_output_embeddings().weight, alone.get_output_embeddings().weight)


def test_the_card_tells_arm_data_base_and_numbers(place: Path):
    run = learnt(place)
    items = made.items()
    rows = [made.answer(item, item.trace) for item in items[:7]]
    rows += [made.answer(item, item.trace._replace(answer=None)) for item in items[7:9]]
    rows += [made.answer(items[9], items[9].trace._replace(answer="yes" if items[9].trace.answer == "no" else "no"))]
    made.evaluation(place / "measured", rows, data_run="data", model=str(run))
    card = (export(ExportOptions(model="run", evaluation="measured", device="cpu")) / "model/README.md").read_text()
    interval = binomtest(7, 10).proportion_ci(method="wilson")
    assert f"| capitals | test | 10 | 0.700 | {interval.low:.3f} to {interval.high:.3f} | 0.200 |" in card
    assert all(f"- {line}" in card for line in ("base: base", "arm: typed", "data: data", "training: mode lora+tokens"))
    assert str(place) not in card


def test_numbers_of_another_student_are_refused(place: Path):
    learnt(place)
    other = made.student(place / "other")
    rows = [made.answer(item, item.trace) for item in made.items()]
    made.evaluation(place / "of_other", rows, data_run="data", model=str(other))
    made.evaluation(place / "of_random", [row | {"arm": "random"} for row in rows])
    for name in ("of_other", "of_random"):
        with pytest.raises(UsageError, match=f"--evaluation {name} is of another student"):
            export(ExportOptions(model="run", evaluation=name, device="cpu"))


def test_what_is_no_student_is_refused(place: Path):
    with pytest.raises(UsageError, match="is no student"):
        export(ExportOptions(model="base", device="cpu"))
    with pytest.raises(UsageError, match="no such file"):
        export(ExportOptions(model=str(place / "bse"), device="cpu"))
