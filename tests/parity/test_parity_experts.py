"""Promise 2 for mixtures of experts: every expert's neurons, their routing weights, and what editing them does."""

import copy

import actkit
import pytest
import torch
from torch.nn import functional


@pytest.fixture
def mixture(model):
    """The sites of the layers whose neurons lie in experts; skipped where the family is dense."""
    sites = [site for site in model.sites.values() if site.kind == "mlp_post" and site.tap.side == "inside"]
    if not sites:
        pytest.skip("no experts behind Hugging Face's experts interface")
    return sites


def _handed(module, forward):
    """What a plain forward hands to an experts module, and what that gives back."""
    calls = []
    handle = module.register_forward_hook(
        lambda _m, args, kw, out: calls.append(([*args, *kw.values()], out)), with_kwargs=True
    )
    forward()
    handle.remove()
    return calls[0]


def test_neurons_times_weights_times_value_vectors_are_what_the_experts_write(model, mixture, either, plain):
    batch = either
    run = model.run(batch, capture=["mlp_post.*", "expert_weights.*"], logits="all")
    assert torch.equal(run.logits, plain(model.hf, batch).logits)
    for site in mixture:
        (hidden, chosen, weights), out = _handed(site.module, lambda: plain(model.hf, batch))
        ours, post = run[f"expert_weights.{site.layer}"].flatten(0, 1), run[site.name].flatten(0, 1)
        assert torch.equal(ours.gather(1, chosen), weights)
        assert torch.equal((ours != 0).sum(-1), (weights != 0).sum(-1))
        written = torch.einsum("se,sen,end->sd", ours, post, model.value_vectors(site.layer))
        if site.module.has_bias:
            written = written + ours @ site.module.down_proj_bias
        torch.testing.assert_close(written, out, atol=1e-5, rtol=1e-4)
        assert post.shape[1:] == model.value_vectors(site.layer).shape[:2]
        assert not post[ours == 0].any()
        assert len(hidden) == len(post)


def test_mixtrals_neurons_are_its_gate_times_its_up_projection(rows):
    from specimens import families

    model = actkit.load(families.tiny_model("mixtral"))
    batch = model.encode(rows)
    post = model.run(batch, capture="mlp_post.1")["mlp_post.1"].flatten(0, 1)
    experts = model.sites["mlp_post.1"].module

    def forward():
        with torch.no_grad():
            model.hf(batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids)

    (hidden, chosen, _), _ = _handed(experts, forward)
    for token, picked in enumerate(chosen.tolist()):
        for e in picked:
            gate, up = experts.gate_up_proj[e].detach().chunk(2)
            expected = functional.silu(gate @ hidden[token]) * (up @ hidden[token])
            torch.testing.assert_close(post[token, e], expected, atol=1e-5, rtol=1e-5)


def test_a_silenced_neuron_is_one_whose_value_vector_is_zero(model, mixture, either, plain):
    """Zeroing neurons 3 and 5 of every expert, against a copy whose experts have those value vectors at zero."""
    site = mixture[-1]
    batch = either
    ours = model.run(batch, edits=[actkit.zero(site.name, actkit.Where(units=(3, 5)))], logits="all").logits
    hf = copy.deepcopy(model.hf)
    down = actkit.load(hf).value_vectors(site.layer)
    with torch.no_grad():
        down[:, [3, 5]] = 0.0
    theirs = plain(hf, batch, use_cache=False).logits
    real = batch.attention_mask.bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=1e-4)
    assert float((theirs - plain(model.hf, batch).logits)[real].abs().max()) > 1e-5


def test_one_expert_can_be_edited_alone(model, mixture, either, plain):
    site = mixture[0]
    batch = either
    edit = actkit.scale(site.name, 2.0, actkit.Where(heads=1))
    ours = model.run(batch, edits=[edit], capture=site.name, logits="all")
    before = model.run(batch, capture=site.name)
    real = batch.attention_mask.bool()
    torch.testing.assert_close(ours[site.name][:, :, 1][real], 2 * before[site.name][:, :, 1][real])
    assert torch.equal(ours[site.name][:, :, 0], before[site.name][:, :, 0])
    hf = copy.deepcopy(model.hf)
    with torch.no_grad():
        actkit.load(hf).value_vectors(site.layer)[1] *= 2.0
    torch.testing.assert_close(ours.logits[real], plain(hf, batch, use_cache=False).logits[real], atol=1e-5, rtol=1e-4)
