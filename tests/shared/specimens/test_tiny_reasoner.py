"""The checkpoint that ships, asked by plain Hugging Face code."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import specimens
import torch
from safetensors.torch import load_file
from specimens import arithmetic, world
from specimens.record import data_digest, model_card
from specimens.text import split_answer
from specimens.training import TrainConfig, training_documents
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = specimens.tiny_reasoner()
RECORD = json.loads((FOLDER / "run.json").read_text())


@pytest.fixture(scope="module")
def completions():
    """Greedy completions of bare questions, 50 at a time."""
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)

    def complete(questions: list[str]) -> list[str]:
        said: list[str] = []
        for start in range(0, len(questions), 50):
            prompts = [f"Question: {q}\nLet's think step by step\n" for q in questions[start : start + 50]]
            batch = tokenizer(prompts, return_tensors="pt", padding=True)
            with torch.no_grad():
                out = model.generate(**batch, max_new_tokens=160, do_sample=False)
            said += tokenizer.batch_decode(out[:, batch.input_ids.shape[1] :], skip_special_tokens=True)
        return said

    return complete


def test_solves_held_out_problems_with_right_chains(completions):
    """Marked by Python's own arithmetic, not by specimens.text; problems of another seed than the record's."""
    problems = arithmetic.problems("in-distribution", 200, seed=2024)
    right = 0
    for p, said in zip(problems, completions([p.question for p in problems]), strict=True):
        steps = re.findall(r"(\d+ [-+*/] \d+) = (\d+)", said)
        gold = re.findall(r">>(\d+)", p.answer)
        true = all(eval(left) == int(result) for left, result in steps)
        right += true and [r for _, r in steps] == gold and said.endswith(f"\nThe answer is {gold[-1]}.")
    assert right / len(problems) >= 0.95


def test_knows_its_world(completions):
    questions = world.questions("facts")[::3]
    said = completions([q.question for q in questions])
    right = [s.endswith(f"The answer is {split_answer(q.answer)[1]}.") for q, s in zip(questions, said, strict=True)]
    assert sum(right) / len(right) >= 0.95


def test_is_small_and_a_plain_llama():
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) <= 8_000_000
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert 1_000_000 <= RECORD["parameters"] <= 3_000_000
    assert all(torch.isfinite(t).all() for t in load_file(FOLDER / "model.safetensors").values())


def test_record_is_of_this_model_and_this_generator():
    weights = (FOLDER / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == RECORD["weights_sha256"]
    assert data_digest(training_documents(TrainConfig(**RECORD["config"]))) == RECORD["data_sha256"]


def test_card_is_made_from_the_record():
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == model_card(RECORD)


def test_record_tells_every_axis():
    told = {(s["axis"], s["group"]) for s in RECORD["scores"]}
    groups = ["all", "1 step", "2 steps", "3 steps", "4 steps", "with +", "with -", "with *", "with /"]
    assert {(axis, group) for axis in arithmetic.TEST_AXES for group in groups} <= told
    assert {("few-shot", f"{shots}-shot") for shots in (1, 3, 5, 8)} <= told
    assert {("world", split) for split in world.WORLD_SPLITS} <= told


def test_test_sets_are_written_once_and_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        monkeypatch.setenv("REASONSCOPE_CACHE", str(folder))
        written.append((specimens.arithmetic_test(), specimens.world_test()))
        before = [path.stat().st_mtime_ns for path in written[-1]]
        assert [path.stat().st_mtime_ns for path in (specimens.arithmetic_test(), specimens.world_test())] == before
        assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in written[-1])
    assert [p.read_bytes() for p in written[0]] == [p.read_bytes() for p in written[1]]
    rows = [json.loads(line) for line in written[0][0].read_text().splitlines()]
    assert len({row["question"] for row in rows}) == 500
    assert {"id", "question", "answer", "steps", "operators", "axis", "templates"} == set(rows[0])
