"""Promises 1 and 2: the forward pass is Hugging Face's own, and the sites are what their names say."""

import copy
import math

import actkit
import pytest
import torch
from specimens.tiny_rows import ROWS


@pytest.mark.promise("logits")
@pytest.mark.parametrize("pad", ["left", "right"])
def test_logits_with_hooks_everywhere_are_bit_equal_to_plain_hf(model, inner, padded, plain, pad):
    batch = padded(pad)
    expected = plain(model.hf, batch).logits
    seen = model.run(batch, capture=inner, logits="all")
    assert torch.equal(seen.logits, expected)
    assert sorted(seen) == sorted(inner)


@pytest.mark.promise("logits")
def test_last_logits_are_bit_equal_to_hf_keeping_only_the_last(model, inner, padded, plain):
    batch = padded("left")
    expected = plain(model.hf, batch, logits_to_keep=1).logits[:, -1]
    ours = model.run(batch, capture=inner).logits
    if model.family.project_out and getattr(model.hf, model.family.project_out, None):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
        pytest.skip("a dense layer stands before its head, and is computed at every position: equal to 1e-5")
    assert torch.equal(ours, expected)


@pytest.mark.promise("logits")
def test_last_logits_of_a_right_padded_batch_are_at_each_rows_last_real_token(model, rows, plain):
    batch = model.encode(rows, pad="right")
    everywhere = plain(model.hf, batch).logits
    expected = torch.stack([everywhere[i, len(row) - 1] for i, row in enumerate(rows)])
    torch.testing.assert_close(model.run(batch).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.promise("logits")
def test_capturing_the_logits_gives_hfs_at_every_slot(model, either, plain):
    run, expected = model.run(either, capture="logits"), plain(model.hf, either).logits
    assert torch.equal(run["logits"], expected)
    assert torch.equal(run.logits, expected[torch.arange(3), either.last])


@pytest.mark.promise("logits")
def test_captures_are_what_the_modules_handled_at_that_moment(model, inner, either, plain):
    """Some blocks go on to overwrite a tensor in place: against copies made by hooks of the test's own."""
    copies, handles = {}, []

    def note(name, x):
        x = x[0] if isinstance(x, tuple | list) else x
        copies[name] = x.clone().view(*either.input_ids.shape, -1)

    for name in inner:
        module, side = model.sites[name].module, model.sites[name].tap.side
        if side == "input":
            hook = lambda _m, args, kw, name=name: note(name, args[0] if args else kw["hidden_states"])  # noqa: E731
            handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        elif side == "output":
            handles.append(module.register_forward_hook(lambda _m, _a, out, name=name: note(name, out)))
    plain(model.hf, either)
    for handle in handles:
        handle.remove()
    run = model.run(either, capture=list(copies))
    for name, copied in copies.items():
        assert torch.equal(run[name].view_as(copied), copied), name


@pytest.mark.promise("write-back")
def test_writing_back_a_sites_own_value_changes_nothing_at_any_site(model, editable, refused, either, plain):
    """All sites at once, then a third of them at a time: what one hides, the other shows."""
    expected = plain(model.hf, either).logits
    seen = model.run(either, capture="*")
    for sites in ([*editable, "logits"], editable[::3], editable[1::3], editable[2::3]):
        edits = [actkit.fn(site, lambda x: x.clone()) for site in sites]
        assert torch.equal(model.run(either, edits=edits, logits="all").logits, expected), sites
    swaps = [actkit.swap(site, seen) for site in editable]
    assert torch.equal(model.run(either, edits=swaps, logits="all").logits, expected)
    if refused:
        pytest.skip(refused)


@pytest.mark.promise("stream")
def test_the_stream_is_what_hf_calls_hidden_states(model, case, rows, plain):
    batch = model.encode(rows, pad="right")
    run = model.run(batch, capture="resid_*")
    real = batch.attention_mask.bool()
    # On a copy: Hugging Face installs recorders for good the first time it is asked for hidden states.
    states = plain(copy.deepcopy(model.hf), batch, output_hidden_states=True).hidden_states
    kind = "resid_post" if case in ("mamba", "mamba2", "falcon_mamba", "rwkv") else "resid_pre"
    for layer in range(model.dims.layers):
        assert torch.equal(run[f"{kind}.{layer}"][real], states[layer][real])
        if layer + 1 < model.dims.layers:
            assert torch.equal(run[f"resid_post.{layer}"], run[f"resid_pre.{layer + 1}"])


@pytest.mark.promise("stream")
def test_unembedding_the_last_stream_gives_the_logits(model, either, plain):
    run = model.run(either, capture=f"resid_post.{model.dims.layers - 1}", logits=None)
    (last,) = run.values()
    real = either.attention_mask.bool()
    expected = plain(model.hf, either).logits
    torch.testing.assert_close(model.unembed(last)[real], expected[real], atol=1e-5, rtol=1e-5)


def _layers(model, *kinds):
    """The layers that have all of these sites; skips, with the refusal's own words, where there are none."""
    layers = [i for i in range(model.dims.layers) if all(f"{kind}.{i}" in model.sites for kind in kinds)]
    if not layers:
        for kind in kinds:
            if f"{kind}.0" not in model.sites:
                with pytest.raises(actkit.UnknownSite) as error:
                    model.run(model.encode([[5, 6]]), capture=f"{kind}.0")
                pytest.skip(str(error.value).splitlines()[0].partition(": ")[2])
    return layers


@pytest.mark.promise("neurons")
def test_neurons_times_value_vectors_are_what_the_mlp_writes(model, case, either):
    if not any(s.kind == "mlp_post" and s.tap.side == "input" for s in model.sites.values()):
        _layers(model, "mlp_post")
        pytest.skip("all its neurons are in experts: see there")
    run = model.run(either, capture=["mlp_post.*", "mlp_out.*"], logits=None)
    dense = [site for site in model.sites.values() if site.kind == "mlp_post" and site.tap.side == "input"]
    for site in dense:
        written = run[site.name] @ model.value_vectors(site.layer)
        written = written if site.module.bias is None else written + site.module.bias
        torch.testing.assert_close(written, run[f"mlp_out.{site.layer}"], atol=1e-5, rtol=1e-5)
        if case in ROWS and site is dense[0]:
            assert run[site.name].shape[-1] == model.dims.d_mlp


@pytest.mark.promise("heads")
def test_heads_through_the_output_projection_are_what_attention_writes(model, either):
    layers = _layers(model, "attn_z", "attn_out")
    run = model.run(either, capture="attn_[zo]*", logits=None)
    for layer in layers:
        z = run[f"attn_z.{layer}"]
        assert z.shape[2:] == (model.dims.heads, model.dims.d_head)
        projection = model.sites[f"attn_z.{layer}"].module
        torch.testing.assert_close(projection(z.flatten(2)), run[f"attn_out.{layer}"], atol=1e-5, rtol=1e-5)


def _identity(x):
    return x


def _norms(attn, mlp):
    return lambda block: (getattr(block, attn), getattr(block, mlp))


# The norms a block puts on what attention and MLP give back, from its drawing in Hugging Face's code.
_ON_OUTPUTS = {
    **dict.fromkeys(
        ["gemma2", "gemma3", "olmo2", "olmo3", "exaone4", "flex_olmo"],
        _norms("post_attention_layernorm", "post_feedforward_layernorm"),
    ),
    "afmoe": _norms("post_attention_layernorm", "post_mlp_layernorm"),
    "glm4": _norms("post_self_attn_layernorm", "post_mlp_layernorm"),
    "hyperclovax": _norms("post_norm1", "post_norm2"),
    "lfm3": _norms("post_operator_norm", "post_ffn_norm"),
}
# What they are multiplied with.
_FACTOR = {
    **dict.fromkeys(["granite", "granite_swa", "granitemoe", "hyperclovax"], 0.7),
    "minicpm3": 1.4 / math.sqrt(3),
}
_NOT_A_SUM = {
    **dict.fromkeys(["beam", "doge", "minimax"], "each block scales its stream as well as what is added to it"),
    "gemma4_text": "each block adds per-layer embeddings as a third part and scales its stream",
    "falcon_h1": "each block adds the Mamba part and attention at once",
    "granitemoeshared": "the block adds experts and shared MLP itself, so no site holds all the MLP writes",
    "granitemoehybrid": "the block adds experts and shared MLP itself, so no site holds all the MLP writes",
    "gpt_neox_japanese": "its last block adds attention's bias itself",
    "rwkv": "its first block norms the stream before it adds to it",
}


def _contributions(model, case, layer):
    """What becomes of attention's and the MLP's output on its way to the stream, and of the stream after each."""
    block = model.blocks[layer]
    if case == "opt-postnorm":
        return _identity, _identity, block.self_attn_layer_norm, block.final_layer_norm
    if case == "openai-gpt":
        return _identity, _identity, block.ln_1, block.ln_2
    if case == "olmo_hybrid":
        both = (block.post_attention_layernorm, block.post_feedforward_layernorm) if layer == 1 else (_identity,) * 2
    else:
        both = _ON_OUTPUTS[case](block) if case in _ON_OUTPUTS else (_identity, _identity)
    factor = _FACTOR.get(case, 1.0)
    return (*((lambda x, f=f: f(x) * factor) for f in both), _identity, _identity)


@pytest.mark.promise("stream")
def test_the_stream_is_the_sum_of_what_is_written_to_it(model, case, either):
    if case in _NOT_A_SUM:
        pytest.skip(_NOT_A_SUM[case])
    _layers(model, "mlp_out")
    run = model.run(either, capture="*")
    close = {"atol": 2e-5, "rtol": 1e-5}
    for layer in range(model.dims.layers):
        on_attn, on_mlp, after_attn, after_mlp = _contributions(model, case, layer)
        here = {kind: run.get(f"{kind}.{layer}") for kind in ("resid_pre", "attn_out", "resid_mid", "mlp_out")}
        pre, mid, post = here["resid_pre"], here["resid_mid"], run[f"resid_post.{layer}"]
        attn = None if here["attn_out"] is None else on_attn(here["attn_out"])
        mlp = None if here["mlp_out"] is None else on_mlp(here["mlp_out"])
        if mid is None and (attn is not None or mlp is not None):
            torch.testing.assert_close(sum(x for x in (pre, attn, mlp) if x is not None), post, **close)
        if mid is not None and attn is not None:
            torch.testing.assert_close(after_attn(pre + attn), mid, **close)
        if mid is not None:
            torch.testing.assert_close(after_mlp(mid + mlp), post, **close)


@pytest.mark.promise("stream")
def test_an_edit_between_attention_and_mlp_reaches_both_the_mlp_and_the_stream(model, case, either):
    _layers(model, "resid_mid")
    _layers(model, "mlp_out")
    direction = torch.linspace(-2, 2, model.dims.d_model)
    before = model.run(either, capture="*")
    after = model.run(either, capture="*", edits=[actkit.add("resid_mid.1", direction)])
    real = either.attention_mask.bool()
    change = (after["resid_mid.1"] - before["resid_mid.1"])[real]
    torch.testing.assert_close(change, direction.expand(20, -1), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(after["mlp_out.1"][real], before["mlp_out.1"][real], atol=1e-3)
    if case in _NOT_A_SUM:
        pytest.skip(_NOT_A_SUM[case])
    _, on_mlp, _, after_mlp = _contributions(model, case, 1)
    expected = after_mlp(after["resid_mid.1"] + on_mlp(after["mlp_out.1"]))
    torch.testing.assert_close(after["resid_post.1"][real], expected[real], atol=2e-5, rtol=1e-5)


_KV_HEADS = {
    **dict.fromkeys(
        ["gpt2", "gpt_neox", "opt", "gpt_neo", "gptj", "gpt_neox_japanese", "codegen", "xglm", "biogpt"], 4
    ),
    **dict.fromkeys(["bloom", "mpt", "ctrl", "openai-gpt", "persimmon", "jais2", "minicpm3", "youtu", "axk1"], 4),
    **dict.fromkeys(["deepseek_v2", "deepseek_v3", "glm4_moe_lite", "kimi_linear", "gpt_neox-serial"], 4),
    **dict.fromkeys(["opt-postnorm"], 4),
    **dict.fromkeys(["falcon", "falcon-serial", "falcon-alibi", "gpt_bigcode"], 1),
}
_WITHOUT_ATTENTION = ("mamba", "mamba2", "falcon_mamba", "rwkv", "zamba", "zamba2", "longcat_flash")


def test_dims_are_those_of_the_configuration(model, case):
    dims = model.dims
    assert (dims.layers, dims.d_model, dims.vocab) == (4 if case == "zamba" else 3, 32, 320)
    if case in _WITHOUT_ATTENTION:
        assert (dims.heads, dims.kv_heads, dims.d_head) == (0, 0, 0)
    else:
        assert (dims.heads, dims.kv_heads) == (4, _KV_HEADS.get(case, 2))
        assert dims.d_head == (12 if case == "qwen3" else 8)
    assert model.context == (None if case == "falcon-alibi" else 128)
