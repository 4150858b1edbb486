"""The looped model against plain GPT-2 of Hugging Face, and against its blocks run by hand."""

import json
import subprocess
import sys
from pathlib import Path

import actkit
import pytest
import torch
from grokked_reasoning import modeling
from grokked_reasoning.modeling import LoopedGPT2Config, LoopedGPT2LMHeadModel
from runkit.errors import UsageError
from safetensors import safe_open
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

IDS = torch.arange(20).reshape(4, 5)


def _looped(loops: int, blocks: int = 2) -> LoopedGPT2LMHeadModel:
    torch.manual_seed(1)
    made = modeling.build(30, layers=blocks, width=16, heads=2, positions=8, loops=loops)
    with torch.no_grad():  # far from the initialisation, so that an error of a block shows
        for each in made.parameters():
            each.add_(torch.randn_like(each) * 0.2)
    return made.eval()


def _config(loops: int) -> LoopedGPT2Config:
    return LoopedGPT2Config(vocab_size=30, n_embd=16, n_head=2, n_positions=8, blocks=2, loops=loops)


def test_one_loop_is_plain_gpt2_bit_for_bit():
    torch.manual_seed(0)
    looped = LoopedGPT2LMHeadModel(_config(1)).eval()
    plain = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=16, n_head=2, n_positions=8, n_layer=2)).eval()
    plain.load_state_dict(looped.state_dict())
    assert torch.equal(looped(IDS).logits, plain(IDS).logits)
    assert type(modeling.build(30, layers=2, width=16, heads=2, positions=8)) is GPT2LMHeadModel


@pytest.mark.parametrize("loops", [2, 3])
def test_loops_run_the_blocks_again(loops: int):
    model = _looped(loops)
    body = model.transformer
    stream = body.wte(IDS) + body.wpe(torch.arange(5))
    for _ in range(loops):
        for block in body.h[:2]:
            stream = block(stream)
    assert torch.equal(model(IDS).logits, model.lm_head(body.ln_f(stream)))


def test_loops_share_parameters_and_gradients():
    model, plain = _looped(2), modeling.build(30, layers=2, width=16, heads=2, positions=8)
    assert model.num_parameters() == plain.num_parameters()
    model(IDS, labels=IDS).loss.backward()
    first, second = (model.transformer.h[i].mlp.c_fc.weight for i in (0, 2))
    assert first is second
    assert first.grad is not None


def test_saved_once_and_loaded_with_as_many_loops_as_asked(tmp_path: Path):
    model = _looped(2)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert not [name for name in file.keys() if ".h.2." in name or ".h.3." in name]  # noqa: SIM118
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert isinstance(again, LoopedGPT2LMHeadModel)
    assert torch.equal(again(IDS).logits, model(IDS).logits)
    longer = modeling.load(tmp_path, loops=4)
    body = model.transformer
    stream = body.wte(IDS) + body.wpe(torch.arange(5))
    for _ in range(4):
        for block in body.h[:2]:
            stream = block(stream)
    assert torch.equal(longer(IDS).logits, model.lm_head(body.ln_f(stream)))


def test_decoding_with_its_cache_is_decoding_without():
    model = _looped(3)
    kept = model.generate(IDS, max_new_tokens=3, do_sample=False, pad_token_id=0)
    fresh = model.generate(IDS, max_new_tokens=3, do_sample=False, use_cache=False, pad_token_id=0)
    assert torch.equal(kept, fresh)


def test_a_stranger_without_this_package_can_load_it(tmp_path: Path):
    model = _looped(2)
    model.save_pretrained(tmp_path)
    script = (
        "import sys, torch; from transformers import AutoModelForCausalLM as A;"
        "m = A.from_pretrained(sys.argv[1], trust_remote_code=True).eval();"
        "assert 'grokked_reasoning' not in sys.modules;"
        "print(repr(m(torch.arange(20).reshape(4, 5)).logits.double().sum().item()))"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert float(done.stdout) == model(IDS).logits.double().sum().item()


@pytest.mark.filterwarnings("ignore")
def test_hooks_see_every_run_of_a_block():
    model = _looped(2)
    seen = actkit.load(model)
    assert seen.dims.layers == 4
    run = seen.run(seen.encode(IDS), capture="resid_post.*")
    stream = model.transformer.wte(IDS) + model.transformer.wpe(torch.arange(5))
    for layer, block in enumerate([*model.transformer.h[:2], *model.transformer.h[:2]]):
        stream = block(stream)
        torch.testing.assert_close(run[f"resid_post.{layer}"], stream, rtol=0, atol=1e-5)


def test_the_published_checkpoints_form_is_read_as_two_loops(tmp_path: Path):
    plain = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=16, n_head=2, n_positions=8, n_layer=2)).eval()
    plain.save_pretrained(tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**told, "add_recurrence": True}))
    model = modeling.load(tmp_path)
    stream = plain.transformer.wte(IDS) + plain.transformer.wpe(torch.arange(5))
    for block in [*plain.transformer.h, *plain.transformer.h]:
        stream = block(stream)
    torch.testing.assert_close(model(IDS).logits, plain.lm_head(plain.transformer.ln_f(stream)), rtol=0, atol=1e-6)


def test_a_plain_model_has_no_loops_to_ask_for(tmp_path: Path):
    modeling.build(30, layers=1, width=16, heads=2, positions=8).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"--loops 3: .* is a plain gpt2"):
        modeling.load(tmp_path, loops=3)
    with pytest.raises(UsageError, match="--width 15 is not a multiple of --heads 2"):
        modeling.build(30, layers=1, width=15, heads=2, positions=8)
