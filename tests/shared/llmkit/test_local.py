"""A model in this process: what it writes is what plain Hugging Face writes, alone or in a batch, and it stops."""

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from llmkit import Budget, BudgetSpent, Local, Question, append_jsonl, ask, estimate
from llmkit.backend import Failed, Request, json_wanted
from llmkit.errors import UsageError
from llmkit.generator import Generator
from pydantic import BaseModel
from specimens import families, planted
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.shared.llmkit.asking import Capital

ANSWER = '{"city": "Rome", "sure": true}'
TEMPLATE = """
{%- for m in messages -%}
{%- if m['role'] == 'system' -%}{{ raise_exception('no system messages') }}{%- endif -%}
[{{ m['role'] }}] {{ m['content'] }}
{% endfor -%}{%- if add_generation_prompt -%}[assistant]
{% endif -%}
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "answers.db"


def asked(text: str) -> Question:
    return Question(text, ({"role": "user", "content": text},), Capital)


def reciting(folder: Path, chain: str, template: str | None = None) -> Path:
    """A model that says `chain` after any question about a capital, then ends its text."""
    start = "[assistant]\n" if template else f"?\n\n{json_wanted(asked('q').schema)}\n"
    planted.planted_model((), prompt=start, chain=chain).save_pretrained(folder)
    tokenizer = planted.tokenizer((), start, chain)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_it_answers_and_stops_at_the_end_of_text(template: str | None, tmp_path: Path, cache: Path):
    local = Local(reciting(tmp_path / "m", f"Sure: {ANSWER}", template), device="cpu")
    log = tmp_path / "log.jsonl"
    (reply,) = ask([asked("capital?")], local, cache=cache, record=append_jsonl(log))
    assert (reply.status, reply.value) == ("ok", Capital(city="Rome", sure=True))
    assert (reply.text, reply.completion_tokens) == (f"Sure: {ANSWER}", 5)
    prompt = json.loads(log.read_text())["request"]["prompt"]
    assert prompt.endswith("[assistant]\n" if template else f"{asked('q').schema}\n")
    assert ("[user] capital?" in prompt) == (template is not None)


def test_it_stops_once_the_answer_is_there(tmp_path: Path, cache: Path):
    """A base model would go on for ever."""
    local = Local(reciting(tmp_path / "m", f"{ANSWER} Question: what about France and all others?"), device="cpu")
    (reply,) = ask([asked("capital?")], local, cache=cache)
    assert (reply.status, reply.text, reply.completion_tokens) == ("ok", ANSWER, 4)


def test_an_answer_longer_than_allowed_is_invalid(tmp_path: Path, cache: Path):
    local = Local(reciting(tmp_path / "m", ANSWER), device="cpu", max_tokens=3)
    (reply,) = ask([asked("capital?")], local, cache=cache)
    assert (reply.status, reply.value, reply.attempts) == ("invalid", None, 2)
    assert "too long" in reply.error
    assert reply.text == '{"city": "Rome", "sure":'


def test_system_messages_reach_models_whose_template_knows_none(tmp_path: Path, cache: Path):
    local = Local(reciting(tmp_path / "m", ANSWER, TEMPLATE), device="cpu")
    question = replace(
        asked("capital?"), messages=({"role": "system", "content": "Be brief."}, *asked("capital?").messages)
    )
    log = tmp_path / "log.jsonl"
    (reply,) = ask([question], local, cache=cache, record=append_jsonl(log))
    assert reply.status == "ok"
    assert "[user] Be brief.\n\ncapital?" in json.loads(log.read_text())["request"]["prompt"]


# Against plain Hugging Face


class Free(BaseModel):
    x: int


def request(text: str) -> Request:
    return Request("r", ({"role": "user", "content": text},), Free, "")


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_every_row_of_a_batch_is_what_plain_hugging_face_writes_alone(family: str, tmp_path: Path):
    """Prompts of very different lengths; one leaves less room than may be written."""
    texts = ["Tom", "Ann has 6 pens " * 4, "Why? " * 9, "and " * 40]
    longest = len(families.tiny_tokenizer()(f"{texts[-1]}\n\n{json_wanted('')}\n")["input_ids"])
    folder = families.save(family, tmp_path / "m", families.Shape(context=longest + 10))
    generator = Generator.load(Local(folder, device="cpu", max_tokens=24))
    hf: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = [generator.prompt(request(text)) for text in texts]
    assert [prompt.room for prompt in prompts] == [24, 24, 24, 10]
    for prompt, got in zip(prompts, generator.answer(prompts), strict=True):
        ids = torch.tensor([prompt.ids])
        wanted = hf.generate(ids, do_sample=False, max_new_tokens=prompt.room, pad_token_id=0)[0, ids.shape[1] :]
        assert got.text == tokenizer.decode(wanted, skip_special_tokens=True)
        assert got.completion_tokens == len(wanted)
        assert got.prompt_tokens == len(prompt.ids)
        assert got.finish == ("stop" if wanted[-1] == tokenizer.eos_token_id else "length")
        assert generator.answer([prompt]) == [got]


def test_what_the_model_ships_about_sampling_changes_nothing(tmp_path: Path):
    folder = families.save("llama", tmp_path / "m")
    plain = Generator.load(Local(folder, device="cpu", max_tokens=16))
    wanted = plain.answer([plain.prompt(request("Tom has"))])
    (folder / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "temperature": 9.0, "repetition_penalty": 3.0, "eos_token_id": 2})
    )
    other = Generator.load(Local(folder, device="cpu", max_tokens=16))
    assert other.answer([other.prompt(request("Tom has"))]) == wanted


def test_a_prompt_that_leaves_no_room_is_an_error_and_spoils_no_other(tmp_path: Path, cache: Path):
    local = Local(families.save("gpt2", tmp_path / "m", families.Shape(context=400)), device="cpu", max_tokens=8)
    replies = {reply.key: reply for reply in ask([asked("short"), asked("long " * 300)], local, cache=cache)}
    assert replies["short"].status == "invalid"
    error = replies["long " * 300]
    assert (error.status, error.attempts, error.cached) == ("error", 0, False)
    assert "the model takes 400, its answer included" in error.error
    with pytest.raises(Failed):
        Generator.load(local).prompt(request("long " * 300))


# The cache, the budget, the end


def test_answers_are_kept_and_the_model_is_not_loaded_for_them(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = reciting(tmp_path / "m", ANSWER)
    local = Local(folder, device="cpu")
    several = [asked(f"capital {number}?") for number in range(5)]
    with pytest.raises(BudgetSpent):
        list(ask(several, local, cache=cache, budget=Budget(calls=3)))
    assert (estimate(several, local, cache=cache).cached, estimate(several, local, cache=cache).calls) == (3, 2)
    assert sum(reply.cached for reply in ask(several, local, cache=cache)) == 3
    monkeypatch.setattr(Generator, "load", classmethod(lambda *_: pytest.fail("loaded")))
    assert [reply.status for reply in ask(several, local, cache=cache)] == ["ok"] * 5
    assert estimate(several, replace(local, max_tokens=9), cache=cache).cached == 0
    monkeypatch.undo()
    reciting(folder, ANSWER.replace("Rome", "Oslo"))  # trained on: another model now
    replies = list(ask(several, local, cache=cache))
    assert not [reply for reply in replies if reply.cached]
    assert [reply.value for reply in replies] == [Capital(city="Oslo", sure=True)] * 5


def test_ctrl_c_ends_a_generation_that_is_under_way(tmp_path: Path, cache: Path):
    """Without the stop it would write for as long as the test may last."""
    folder = families.save("llama", tmp_path / "m", families.Shape(context=10**6))
    replies = ask([asked("Tom has")], Local(folder, device="cpu", max_tokens=900_000), cache=cache)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start jobs in the background without it
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(replies)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("llmkit", "asyncio"))]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"dtype": "float33"}, "'float33' is no dtype"),
        ({"device": "toaster"}, "cannot be loaded"),
        ({"model": "no/such/folder/at/all"}, "neither a folder here nor a model of the hub"),
    ],
)
def test_what_cannot_be_loaded_is_named(options: dict, complaint: str, tmp_path: Path, cache: Path):
    local = replace(Local(reciting(tmp_path / "m", ANSWER)), **options)
    with pytest.raises(UsageError, match=complaint):
        list(ask([asked("capital?")], local, cache=cache))


def test_a_folder_that_holds_no_model_is_named(tmp_path: Path, cache: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=f"local model {tmp_path}/empty cannot be loaded"):
        list(ask([asked("capital?")], Local(tmp_path / "empty"), cache=cache))
