"""Promise 6: nothing is left behind, also after an exception."""

import copy

import actkit
import pytest
import torch

pytestmark = pytest.mark.promise("no trace")


def _fingerprint(hf):
    hooks = [
        (name, len(module._forward_hooks), len(module._forward_pre_hooks), module.training, "forward" in vars(module))
        for name, module in hf.named_modules()
    ]
    weights = [(name, p.data_ptr(), p._version, p.requires_grad) for name, p in hf.named_parameters()]
    return (
        hooks,
        weights,
        copy.deepcopy(hf.config.to_dict()),
        hf.config._attn_implementation,
        copy.deepcopy(hf.generation_config.to_dict()),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_rng_state().tolist(),
    )


def _fail(_x):
    raise RuntimeError("on purpose")


@pytest.fixture(params=[False, True], ids=["eval", "training"])
def untouched(model, request):
    """Checks that the model, global modes and random state are the same at the end as at the start."""
    model.hf.train(request.param)
    before = _fingerprint(model.hf)
    yield model
    assert _fingerprint(model.hf) == before
    model.hf.eval()


def test_runs_leave_no_trace(untouched, inner, editable, either):
    untouched.run(either, capture="*", edits=[actkit.noise("resid_pre.1", 1.0)])
    untouched.run(either, capture=inner[:4], logits=None)
    untouched.run(either, capture=editable, logits="all", grad=True)


def test_decoding_leaves_no_trace(untouched, generating, inner, rows):
    batch = untouched.encode(rows)
    untouched.generate(batch, max_new_tokens=3, capture="*", edits=[actkit.scale("resid_pre.0", 0.5)])
    untouched.generate(batch, max_new_tokens=3, capture=inner, on_step=lambda step: None, temperature=1.0)


def test_exceptions_leave_no_trace(untouched, inner, either):
    for site in (inner[0], inner[len(inner) // 2], inner[-1]):
        with pytest.raises(RuntimeError, match="on purpose"):
            untouched.run(either, capture="*", edits=[actkit.fn(site, _fail)])
    with pytest.raises(actkit.EditError):
        untouched.run(either, edits=[actkit.zero("resid_post.0", actkit.Where(pos=99))])
    with pytest.raises(actkit.UnknownSite):
        untouched.run(either, capture="resid_post.99")


def test_exceptions_while_decoding_leave_no_trace(untouched, generating, inner, rows):
    batch = untouched.encode(rows)
    with pytest.raises(RuntimeError, match="on purpose"):
        untouched.generate(batch, max_new_tokens=2, capture="*", edits=[actkit.fn(inner[-1], _fail)])
    with pytest.raises(RuntimeError, match="on purpose"):
        untouched.generate(batch, max_new_tokens=2, capture=inner, on_step=_fail)


def test_a_users_own_hooks_stay_and_see_the_edited_stream(model, either):
    seen = []
    handle = model.blocks[1].register_forward_hook(
        lambda _m, _i, out: seen.append(out[0] if isinstance(out, tuple | list) else out)
    )
    run = model.run(either, capture="resid_post.1", edits=[actkit.scale("resid_post.1", 2.0)])
    assert torch.equal(seen[0], run["resid_post.1"])
    model.run(either)
    assert len(seen) == 2
    handle.remove()


def test_hfs_own_recorders_see_the_edited_stream(model, case, rows):
    """They are installed for good the first time hidden states are asked for, so before any hook of ours."""
    hf = copy.deepcopy(model.hf)
    copied = actkit.load(hf)
    batch = copied.encode(rows, pad="right")
    with torch.no_grad():
        hf(batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True)
    recorded = []
    hf.register_forward_pre_hook(lambda _m, args, kw: (args, {**kw, "output_hidden_states": True}), with_kwargs=True)
    hf.register_forward_hook(lambda _m, _i, out: recorded.append(out.hidden_states))
    copied.run(batch, edits=[actkit.fn("resid_post.0", lambda x: x + 100.0)])
    index = 0 if case in ("mamba", "mamba2", "falcon_mamba", "rwkv") else 1
    assert float(recorded[0][index][batch.attention_mask.bool()].mean()) == pytest.approx(100.0, abs=5.0)
