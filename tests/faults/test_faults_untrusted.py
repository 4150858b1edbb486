"""Checkpoints and data of strangers: what would run code when it is read is refused by name, and none of it is run."""

import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import actkit
import numpy as np
import pytest
import torch
from cot_neurons.infer import infer
from cot_neurons.options import InferOptions
from expgen.exemplars import exemplars
from expgen.importing import import_
from expgen.options import ExemplarsOptions, ImportOptions
from grokked_reasoning.evaluate import evaluate
from grokked_reasoning.options import EvaluateOptions
from llmkit import Question, ask
from llmkit.local import Local
from memreason.options import EvaluateOptions as AskOptions
from memreason.options import TrainOptions
from memreason.student import Student
from memreason.train import train
from pydantic import BaseModel
from specimens import families, planted

from tests.packages.grokked_reasoning import small_world
from tests.packages.memreason import made

RAN = "ran"


class Plant:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(Path(RAN).absolute()),))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REASONSCOPE_MLFLOW", "off")
    Path("problems.jsonl").write_text(json.dumps({"question": "How many?", "answer": "#### 5"}) + "\n")
    Path("texts.jsonl").write_text(json.dumps({"text": "Ann has 2 apples"}) + "\n")
    return tmp_path


def _with_pickle(folder: Path) -> Path:
    """A model folder whose weights are a pickle, beside the arguments of a trainer, which many have."""
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    for name in ("pytorch_model.bin", "training_args.bin"):
        (folder / name).write_bytes(pickle.dumps(Plant()))
    return folder


def _with_code(folder: Path) -> Path:
    """A model folder that brings its own classes, of an architecture that is not known otherwise."""
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(Path(RAN).absolute())!r})\n")
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model", "AutoTokenizer": ["own.Tokenizer", None]}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": auto}))
    return folder


def _planted(folder: Path) -> Path:
    planted.save(folder)
    return folder


READERS: dict[str, Callable[[Path], object]] = {
    "actkit.load": actkit.load,
    "cot-neurons infer": lambda folder: infer(InferOptions(model=str(folder), data="problems.jsonl")),
    "expgen exemplars": lambda folder: exemplars(ExemplarsOptions(model=str(folder), data=("texts.jsonl",))),
    "memreason evaluate": lambda folder: Student.load(AskOptions(data="made", model=str(folder))),
    "memreason train": lambda folder: train(TrainOptions(data=str(made.traces(Path("traces"))), model=str(folder))),
    "local LLM": lambda folder: list(ask([_question()], Local(str(folder)), cache=Path("cache.db"))),
}


class _Answer(BaseModel):
    word: str


def _question() -> Question:
    return Question("q", ({"role": "user", "content": "Say a word."},), _Answer)


@pytest.mark.parametrize("spoilt", [_with_pickle, _with_code])
def test_a_model_is_refused(place: Path, figures, spoilt: Callable[[Path], Path]):
    pickled = spoilt is _with_pickle
    folder = spoilt(_planted(place / "model"))
    says = r"pytorch_model\.bin is a pickle.*safetensors" if pickled else "code of its own"
    for name, read in READERS.items():
        with pytest.raises(Exception, match=says) as caught:
            read(folder)
        assert getattr(caught.value, "user_facing", False) or hasattr(caught.value, "hint"), name
        assert str(folder) in str(caught.value), name
    assert not Path(RAN).exists()
    figures(
        "Untrusted checkpoint", "`pytorch_model.bin`" if pickled else "a model with code of its own",
        tried=", ".join(READERS), held="refused by name; nothing of it is run",
    )  # fmt: skip


def test_a_training_checkpoint_is_refused(place: Path, figures):
    """The classes of `grokked-reasoning` read checkpoints by themselves."""
    small_world.write(place / "data")
    size = len(json.loads((place / "data" / "vocab.json").read_text()))
    folder = place / "checkpoints" / "checkpoint-1"
    torch.manual_seed(0)
    families.save("gpt2", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": size}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    _with_pickle(folder)
    with pytest.raises(actkit.LoadError, match=r"checkpoint-1/pytorch_model\.bin is a pickle"):
        evaluate(EvaluateOptions(checkpoints=str(place), data=str(place / "data"), device="cpu"))
    assert not Path(RAN).exists()
    figures(
        "Untrusted checkpoint", "a checkpoint of training", tried="grokked-reasoning evaluate",
        held="refused by name; nothing of it is run",
    )  # fmt: skip


def test_an_adapter_is_refused(place: Path, figures):
    folder = place / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "base"}))
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Plant()))
    with pytest.raises(actkit.LoadError, match=r"adapter_model\.bin is a pickle"):
        Student.load(AskOptions(data="made", model=str(folder)))
    assert not Path(RAN).exists()
    figures(
        "Untrusted checkpoint", "`adapter_model.bin`", tried="memreason evaluate",
        held="refused by name; nothing of it is run",
    )  # fmt: skip


def test_data_are_refused(place: Path, figures):
    """Arrays of pickled objects among files to import; a pickle as data."""
    layer = place / "files" / "train" / "layer0"
    layer.mkdir(parents=True)
    for name in ("max_acts", "max_seq_acts", "max_seq_ids", "max_dataset_ids"):
        np.save(layer / f"{name}.npy", np.array([Plant()], dtype=object), allow_pickle=True)
    with pytest.raises(Exception, match=re.escape(str(layer))) as caught:
        import_(ImportOptions(folder=str(place / "files"), tokenizer=str(_planted(place / "model")), model_name="m"))
    assert getattr(caught.value, "user_facing", False)
    Path("data.pkl").write_bytes(pickle.dumps(Plant()))
    with pytest.raises(Exception, match=r"data\.pkl: rows are read from files that end in"):
        infer(InferOptions(model=str(_planted(place / "model")), data="data.pkl"))
    assert not Path(RAN).exists()
    figures(
        "Untrusted data", "npy files of objects, a pickle", tried="expgen import, cot-neurons infer",
        held="refused by name; nothing of it is run",
    )  # fmt: skip
