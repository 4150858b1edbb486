"""Promises 1 and 2: the forward pass is Hugging Face's own, and the sites are what their names say."""

import copy

import actkit
import pytest
import torch


@pytest.mark.parametrize("pad", ["left", "right"])
def test_logits_with_hooks_everywhere_are_bit_equal_to_plain_hf(model, inner, rows, plain, pad):
    batch = model.encode(rows, pad=pad)
    expected = plain(model.hf, batch).logits
    seen = model.run(batch, capture=inner, logits="all")
    assert torch.equal(seen.logits, expected)
    assert list(seen) == inner


def test_last_logits_are_bit_equal_to_hf_keeping_only_the_last(model, inner, rows, plain):
    batch = model.encode(rows)
    expected = plain(model.hf, batch, logits_to_keep=1).logits[:, 0]
    assert torch.equal(model.run(batch, capture=inner).logits, expected)


def test_last_logits_of_a_right_padded_batch_are_at_each_rows_last_real_token(model, rows, plain):
    batch = model.encode(rows, pad="right")
    everywhere = plain(model.hf, batch).logits
    expected = torch.stack([everywhere[i, len(row) - 1] for i, row in enumerate(rows)])
    torch.testing.assert_close(model.run(batch).logits, expected, atol=1e-5, rtol=1e-5)


def test_capturing_the_logits_gives_hfs_at_every_slot(model, rows, plain):
    batch = model.encode(rows)
    expected = plain(model.hf, batch).logits
    run = model.run(batch, capture="logits")
    assert torch.equal(run["logits"], expected)
    assert torch.equal(run.logits, expected[:, -1])


def test_writing_back_a_sites_own_value_changes_nothing_at_any_site(model, inner, rows, plain):
    batch = model.encode(rows)
    expected = plain(model.hf, batch).logits
    seen = model.run(batch, capture="*")
    for site in [*inner, "logits"]:
        for edit in (actkit.fn(site, lambda x: x), actkit.swap(site, seen), actkit.scale(site, 1.0)):
            assert torch.equal(model.run(batch, edits=[edit], logits="all").logits, expected), edit


def test_the_stream_is_what_hf_calls_hidden_states(model, rows, plain):
    batch = model.encode(rows, pad="right")
    # On a copy: Hugging Face installs recorders for good the first time it is asked for hidden states.
    states = plain(copy.deepcopy(model.hf), batch, output_hidden_states=True).hidden_states
    run = model.run(batch, capture="resid_*")
    real = batch.attention_mask.bool()
    for layer in range(model.dims.layers):
        assert torch.equal(run[f"resid_pre.{layer}"][real], states[layer][real])
        if layer + 1 < model.dims.layers:
            assert torch.equal(run[f"resid_post.{layer}"], run[f"resid_pre.{layer + 1}"])
    last = run[f"resid_post.{model.dims.layers - 1}"]
    norm = model.hf.get_submodule(model.family.final_norm) if model.family.final_norm else torch.nn.Identity()
    torch.testing.assert_close(model.project_out(norm(last))[real], states[-1][real], atol=1e-5, rtol=1e-5)


def test_unembedding_the_last_stream_gives_the_logits(model, rows, plain):
    batch = model.encode(rows)
    run = model.run(batch, capture=f"resid_post.{model.dims.layers - 1}", logits=None)
    (last,) = run.values()
    torch.testing.assert_close(model.unembed(last), plain(model.hf, batch).logits, atol=1e-5, rtol=1e-5)


def test_neurons_times_value_vectors_are_what_the_mlp_writes(model, case, rows):
    if case == "mixtral":
        pytest.skip("experts have no single down projection; the refusal is tested elsewhere")
    run = model.run(model.encode(rows), capture=["mlp_post.*", "mlp_out.*"], logits=None)
    for layer in range(model.dims.layers):
        down = model.blocks[layer].get_submodule(model.family.mlp_down)
        written = run[f"mlp_post.{layer}"] @ model.value_vectors(layer)
        written = written if down.bias is None else written + down.bias
        assert run[f"mlp_post.{layer}"].shape[-1] == model.dims.d_mlp
        torch.testing.assert_close(written, run[f"mlp_out.{layer}"], atol=1e-5, rtol=1e-5)


def test_heads_through_the_output_projection_are_what_attention_writes(model, rows):
    run = model.run(model.encode(rows), capture="attn_*", logits=None)
    for layer in range(model.dims.layers):
        z = run[f"attn_z.{layer}"]
        assert z.shape[2:] == (model.dims.heads, model.dims.d_head)
        projection = model.blocks[layer].get_submodule(model.family.attn_proj)
        torch.testing.assert_close(projection(z.flatten(2)), run[f"attn_out.{layer}"], atol=1e-5, rtol=1e-5)


def _identity(x):
    return x


def _contributions(model, case, layer):
    """The norms a block puts on what attention and MLP give back, or on the stream after each, from its own drawing."""
    block = model.blocks[layer]
    if case in ("gemma2", "gemma3", "olmo2"):
        return block.post_attention_layernorm, block.post_feedforward_layernorm, _identity, _identity
    if case == "opt-postnorm":
        return _identity, _identity, block.self_attn_layer_norm, block.final_layer_norm
    return _identity, _identity, _identity, _identity


def test_the_stream_is_the_sum_of_what_is_written_to_it(model, case, rows):
    run = model.run(model.encode(rows), capture="*")
    for layer in range(model.dims.layers):
        on_attn, on_mlp, after_attn, after_mlp = _contributions(model, case, layer)
        pre, post = run[f"resid_pre.{layer}"], run[f"resid_post.{layer}"]
        attn, mlp = on_attn(run[f"attn_out.{layer}"]), on_mlp(run[f"mlp_out.{layer}"])
        mid = run.get(f"resid_mid.{layer}")
        if mid is None:
            torch.testing.assert_close(pre + attn + mlp, post, atol=1e-5, rtol=1e-5)
        else:
            torch.testing.assert_close(after_attn(pre + attn), mid, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(after_mlp(mid + mlp), post, atol=1e-5, rtol=1e-5)


def test_an_edit_between_attention_and_mlp_reaches_both_the_mlp_and_the_stream(model, case, rows):
    if "resid_mid.1" not in model.sites:
        pytest.skip("attention and MLP in parallel")
    batch = model.encode(rows)
    direction = torch.linspace(-2, 2, model.dims.d_model)
    before = model.run(batch, capture="*")
    after = model.run(batch, capture="*", edits=[actkit.add("resid_mid.1", direction)])
    real = batch.attention_mask.bool()
    torch.testing.assert_close((after["resid_mid.1"] - before["resid_mid.1"])[real], direction.expand(20, -1))
    assert not torch.allclose(after["mlp_out.1"][real], before["mlp_out.1"][real], atol=1e-3)
    _, on_mlp, _, after_mlp = _contributions(model, case, 1)
    expected = after_mlp(after["resid_mid.1"] + on_mlp(after["mlp_out.1"]))
    torch.testing.assert_close(after["resid_post.1"][real], expected[real], atol=1e-5, rtol=1e-5)


def test_dims_are_those_of_the_configuration(model, case):
    config, dims = model.hf.config, model.dims
    assert (dims.layers, dims.d_model, dims.heads, dims.d_mlp, dims.vocab) == (3, 32, 4, 48, 320)
    kv_heads = {"gpt2": 4, "gpt_neox": 4, "opt": 4, "falcon": 1}.get(case.split("-")[0], 2)
    assert dims.kv_heads == (2 if case == "falcon-grouped" else kv_heads)
    assert dims.d_head == (12 if case == "qwen3" else 8)
    assert model.context == (None if case == "falcon-alibi" else config.max_position_embeddings)
