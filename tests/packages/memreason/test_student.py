"""A student that is saved, loaded and merged says what it said when it learnt; what does not fit is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import actkit
import orjson
import pytest
import torch
from memreason.codec import Codec
from memreason.options import EvaluateOptions, TrainOptions
from memreason.scheme import TokenScheme
from memreason.student import Student
from memreason.train import train
from memreason.training import adapters, saving
from memreason.training.rows import matrices, resized
from peft import PeftModel
from runkit.errors import DataError, UsageError
from runkit.record import StageRun
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.packages.memreason import made

IDS = [2, 5, 11, 12, 13, 14, 4]


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(StageRun, "figure", lambda *_: None)  # it takes longer than all else
    made.base(workplace / "base")
    made.traces(workplace / "data")
    return workplace


def learnt(place: Path, name: str = "run", **given: Any) -> Path:
    small = {"data": "data", "model": "base", "epochs": 1, "batch_size": 5, "looks": 1, "look_at": 2, "rank": 4,
             "learning_rate": 1e-2, "device": "cpu", "out": place / name}  # fmt: skip
    return Path(str(train(TrainOptions.model_validate(small | given))))


def loose(run: Path) -> Path:
    """The run's student as a folder of its own, for which no manifest vouches."""
    return Path(shutil.copytree(run / "student", run.with_name("loose"), dirs_exist_ok=True))


def asked(model: str = "run", **given: Any) -> EvaluateOptions:
    return EvaluateOptions(data="data", model=model, device="cpu", **given)


@torch.no_grad()
def _logits(hf: Any, ids: list[int]) -> torch.Tensor:
    hf.eval()
    return hf(input_ids=torch.tensor([ids])).logits


@pytest.mark.parametrize(
    ("mode", "tied", "pad"),
    [
        ("full", False, 0), ("lora+tokens", False, 0), ("lora+tokens", False, 40), ("lora+tokens", True, 3),
        ("tokens", False, 0), ("tokens", True, 0), ("lora", True, 0), ("lora", False, 40),
    ],
)  # fmt: skip
def test_loaded_and_merged_its_logits_are_those_it_had(
    mode: str, tied: bool, pad: int, place: Path, monkeypatch: pytest.MonkeyPatch
):
    made.base(place / "other", pad_rows=pad, tied=tied)
    seen, save = list[torch.Tensor](), saving.Shelf.save

    def heard(self: saving.Shelf, learner: Any) -> None:
        save(self, learner)
        if learner is not None:
            seen.append(_logits(learner, [*IDS, *range(len(made.tokenizer()), len(made.tokenizer()) + 7)]))

    monkeypatch.setattr(saving.Shelf, "save", heard)
    folder = learnt(place, mode=mode, model="other") / "student"
    student = Student.load(asked())
    new = student.codec.new_ids
    assert new == list(range(len(made.tokenizer()), len(made.tokenizer()) + 7))
    assert student.model.dims.vocab == max(len(made.tokenizer()) + pad, len(made.tokenizer()) + 7)
    torch.testing.assert_close(_logits(student.model.hf, [*IDS, *new]), seen[-1], atol=1e-6, rtol=0)
    assert not any("lora" in name for name, _ in student.model.hf.named_modules())
    hf: Any = student.model.hf
    assert (hf.get_input_embeddings().weight is hf.get_output_embeddings().weight) == tied
    if mode == "lora+tokens":
        assert AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(list(student.scheme.tokens)) == new
        plain = AutoModelForCausalLM.from_pretrained(place / "other")
        plain.resize_token_embeddings(student.model.dims.vocab, mean_resizing=False)
        by_peft = PeftModel.from_pretrained(plain, folder)
        torch.testing.assert_close(_logits(by_peft, [*IDS, *new]), seen[-1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["lora+tokens", "tokens"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_checkpoint_is_as_large_as_what_was_trained(place: Path, mode: str, tied: bool):
    lm = made.model(len(made.tokenizer()), width=128, tied=tied)
    lm.save_pretrained(place / "wide")
    made.tokenizer().save_pretrained(place / "wide")
    folder = learnt(place, mode=mode, model="wide", rank=16)
    rows = 7 * 128 * (1 if tied else 2)
    per_layer = 16 * ((128 + 128) * 2 + (128 + 64) * 2 + 3 * (128 + 256))  # q o, k v, gate up down
    trained = 4 * (rows + (2 * per_layer if mode == "lora+tokens" else 0))
    size = (folder / "student" / adapters.WEIGHTS).stat().st_size
    assert trained < size <= 1.2 * trained
    if mode == "lora+tokens":
        whole = 4 * sum(each.numel() for each in lm.parameters())
        assert sum(path.stat().st_size for path in (folder / "student").iterdir()) < whole


def test_another_precision_is_the_askers_choice(place: Path):
    learnt(place)
    low = Student.load(asked(dtype="bfloat16")).model.hf
    assert {each.dtype for each in low.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(
        _logits(low, IDS).float(), _logits(Student.load(asked()).model.hf, IDS), atol=0.05, rtol=0
    )


def test_a_base_that_has_moved_is_named_by_the_user(place: Path):
    learnt(place)
    before = _logits(Student.load(asked()).model.hf, IDS)
    (place / "base").rename(place / "elsewhere")
    with pytest.raises(UsageError, match=r"is an adapter, and its base: .*base: no such file.*--base says where"):
        Student.load(asked())
    assert torch.equal(_logits(Student.load(asked(base="elsewhere")).model.hf, IDS), before)


def test_another_base_is_refused(place: Path):
    learnt(place)
    made.model(len(made.tokenizer()), seed=1).save_pretrained(place / "seed1")
    made.model(20).save_pretrained(place / "small")
    for other in ("seed1", "small"):
        made.tokenizer().save_pretrained(place / other)
        with pytest.raises(
            UsageError, match=rf"base {other} is not the model that this student was made from:\n(.*\n)?.*weights"
        ):
            Student.load(asked(base=other))


def test_a_base_that_is_not_needed_is_refused(place: Path):
    learnt(place, mode="full")
    with pytest.raises(UsageError, match="needs no base"):
        Student.load(asked(base="base"))


@pytest.mark.parametrize("arm", ["uniform", "typed"])
def test_the_scheme_of_another_checkpoint_is_refused(place: Path, arm: str):
    """Also where its tokens are all known to the tokenizer."""
    folder = loose(learnt(place))
    kinds = ("step",) if arm == "uniform" else ("memory", "reason")
    TokenScheme(arm=arm, kinds=kinds, general=1, special=1).save(folder)
    with pytest.raises(DataError, match="another checkpoint"):
        Student.load(asked("loose"))


def test_a_tokenizer_without_the_schemes_tokens_is_refused(place: Path):
    made.tokenizer().save_pretrained(loose(made.student(place / "whole")))
    with pytest.raises(DataError, match="lacks tokens"):
        Student.load(asked("loose"))


def test_a_model_with_too_few_rows_is_refused(place: Path):
    made.model(30).save_pretrained(loose(made.student(place / "whole")))
    with pytest.raises(DataError, match=r"the model has 30 rows, and its scheme needs"):
        Student.load(asked("loose"))


def test_damaged_records_are_named(place: Path):
    run = learnt(place)
    folder = loose(run)
    (folder / "scheme.json").write_text('{"arm": "typd"}')
    with pytest.raises(DataError, match=r"scheme.json: arm"):
        Student.load(asked("loose"))
    shutil.copy(run / "student/scheme.json", folder)
    record = json.loads((folder / "base.json").read_text())
    (folder / "base.json").write_bytes(orjson.dumps({**record, "what": 1}))
    with pytest.raises(DataError, match=r"base.json: .*says which model"):
        Student.load(asked("loose"))


def test_a_flipped_byte_of_the_weights_is_named(place: Path):
    weights = made.student(place / "whole") / "student/model.safetensors"
    assert weights.stat().st_mode & 0o044  # others may read what the user lets them
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 64
    weights.write_bytes(content)
    with pytest.raises(DataError, match=r"student/model.safetensors: xxh3 \w+, expected \w+"):
        Student.load(asked("whole"))


def test_a_model_without_a_scheme_is_asked_as_it_is(place: Path):
    student = Student.load(asked("base"))
    assert (student.scheme.arm, student.codec.new_ids, student.name) == ("none", [], "base")


def test_a_student_learns_on(place: Path):
    """Its rows are kept, not given first values again; and the second student's base is the first one, merged."""
    learnt(place, "first")
    rows = Student.load(asked("first")).model.hf.get_input_embeddings().weight.detach().clone()
    learnt(place, "second", model="first", mode="lora")
    second = Student.load(asked("second"))
    torch.testing.assert_close(second.model.hf.get_input_embeddings().weight.detach(), rows, atol=0, rtol=0)
    assert second.codec.new_ids == Student.load(asked("first")).codec.new_ids


@pytest.mark.parametrize("init", ["word", "mean", "random"])
def test_first_values_of_new_rows(init: Any):
    """`memory` is two words here, `reason` is unknown."""
    words = made.tokenizer(more=["memory", "general"])
    lm = made.model(len(words))
    old = [each.detach().clone() for each in matrices(lm)]
    codec = Codec(words, TokenScheme(arm="typed", general=1, special=2, init=init))
    resized(lm, codec, known=words, seed=3)
    for before, after in zip(old, matrices(lm), strict=True):
        assert torch.equal(after[: len(words)], before)
        spread = float(before.std())
        rows = {name: after[token].detach() for name, token in zip(codec.scheme.tokens, codec.new_ids, strict=True)}
        word = before[words.convert_tokens_to_ids("memory")]
        for name in ("<memory_0>", "<memory_1>"):
            near = float((rows[name] - (word if init == "word" else before.mean(0))).std())
            assert near == pytest.approx(spread * (1 if init == "random" else 0.1), rel=0.4)
        assert float((rows["<reason_0>"] - before.mean(0)).std()) < spread * (2 if init == "random" else 0.2)
        assert len({tuple(row.tolist()) for row in rows.values()}) == len(rows)
    twin = made.model(len(words))
    resized(twin, codec, known=words, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(matrices(twin), matrices(lm), strict=True))


def test_a_merged_student_can_be_looked_into(place: Path):
    learnt(place)
    model = Student.load(asked()).model
    run = model.run(model.encode([IDS]), capture="mlp_post.*")
    assert run["mlp_post.1"].shape == (1, len(IDS), 64)
    assert isinstance(model, actkit.Model)


def test_adapters_hold_what_learnt_and_nothing_else(place: Path):
    found = load_file(learnt(place, targets="attention") / "student" / adapters.WEIGHTS)
    assert {name.split(".")[-2] for name in found} == {"lora_A", "lora_B", "token_adapter"}
    assert not any("mlp" in name for name in found)
