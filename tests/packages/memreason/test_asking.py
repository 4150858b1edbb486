"""Asking: batched answers are Hugging Face's own, one at a time; draws, log-probabilities and prompts without room."""

import actkit
import pytest
import torch
from memreason import arms
from memreason.asking import say
from memreason.codec import Codec
from memreason.student import resized
from specimens import families

from tests.packages.memreason import made

NEW = 24


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(made.tokenizer(), arms.scheme("typed", general=1, special=2))


@pytest.fixture(scope="module")
def model(codec: Codec) -> actkit.Model:
    lm = made.model(len(made.tokenizer()), seed=3)
    resized(lm, codec)
    return actkit.load(lm, tokenizer=codec.tokenizer)


def _prompts(codec: Codec) -> list[list[int]]:
    """Of several lengths."""
    questions = [item.trace.question for item in made.items()[:5]]
    return [codec.prompt(" ".join([question] * (1 + i % 3))) for i, question in enumerate(questions)]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_batched_answers_are_hugging_faces_one_at_a_time(family: str, codec: Codec):
    lm = families.tiny_model(family, families.Shape(context=256))
    torch.manual_seed(5)
    for weight in lm.parameters():  # untrained tiny models repeat one token; these wander, and some end
        weight.data.add_(0.3 * torch.randn_like(weight))
    model = actkit.load(lm, tokenizer=codec.tokenizer)
    prompts = _prompts(codec)
    said = say(model, codec, prompts, max_new_tokens=NEW)
    for prompt, each in zip(prompts, said, strict=True):
        theirs = lm.generate(torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False, eos_token_id=codec.eos)
        assert each.new_ids == theirs[0, len(prompt) :].tolist()
        assert each.finish == ("eos" if each.new_ids[-1] == codec.eos else "length")
    assert len({tuple(each.new_ids) for each in said}) > 1, "the same words to all would prove little"


def test_the_log_probability_is_that_of_a_plain_forward(model: actkit.Model, codec: Codec):
    prompts = _prompts(codec)
    for prompt, each in zip(prompts, say(model, codec, prompts, max_new_tokens=NEW), strict=True):
        with torch.no_grad():
            logits = model.hf(torch.tensor([prompt + each.new_ids])).logits[0, len(prompt) - 1 : -1]
        theirs = logits.log_softmax(-1)[torch.arange(len(each.new_ids)), torch.tensor(each.new_ids)].mean()
        assert each.logprob == pytest.approx(float(theirs), abs=1e-5)


def test_a_generation_config_that_samples_is_not_followed(model: actkit.Model, codec: Codec, monkeypatch):
    prompts = _prompts(codec)
    greedy = say(model, codec, prompts, max_new_tokens=NEW)
    for name, value in {"do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0}.items():
        monkeypatch.setattr(model.hf.generation_config, name, value)
    assert say(model, codec, prompts, max_new_tokens=NEW) == greedy


def test_draws_are_a_rows_own(model: actkit.Model, codec: Codec):
    prompts = _prompts(codec)
    how = {"max_new_tokens": NEW, "temperature": 1.0, "top_p": 0.95}
    together = say(model, codec, prompts, seed=[11, 12, 13, 14, 15], **how)
    assert together == say(model, codec, prompts, seed=[11, 12, 13, 14, 15], **how)
    alone = say(model, codec, prompts[2:3], seed=[13], **how)[0]
    assert alone.new_ids == together[2].new_ids
    other = say(model, codec, prompts, seed=[1, 2, 3, 4, 5], **how)
    assert [each.new_ids for each in other] != [each.new_ids for each in together]


def test_a_prompt_without_room_is_answered_by_nothing(model: actkit.Model, codec: Codec):
    prompts = _prompts(codec)
    long = [5] * model.context
    said = say(model, codec, [prompts[0], long, prompts[1]], max_new_tokens=NEW, temperature=1.0, seed=[1, 2, 3])
    assert said[1] == ([], "context", None)
    assert said[2].new_ids == say(model, codec, [prompts[1]], max_new_tokens=NEW, temperature=1.0, seed=[3])[0].new_ids
    assert say(model, codec, [long], max_new_tokens=NEW) == [([], "context", None)]
