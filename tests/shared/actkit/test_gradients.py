"""Gradients against autograd written by hand on plain Hugging Face models, and against finite differences."""

import copy
import re
from types import MethodType

import actkit
import pytest
import torch
from actkit import Where
from specimens import families

ROWS = [[5, 6, 7, 8, 9], [20, 21, 22]]

# Literal paths, so that a wrong row of actkit's own table cannot hide: block, output projection, down projection.
PATHS = {
    "llama": ("model.layers.1", "self_attn.o_proj", "mlp.down_proj"),
    "gpt2": ("transformer.h.1", "attn.c_proj", "mlp.c_proj"),
    "gemma2": ("model.layers.1", "self_attn.o_proj", "mlp.down_proj"),
    "gpt_neox": ("gpt_neox.layers.1", "attention.dense", "mlp.dense_4h_to_h"),
    "falcon": ("transformer.h.1", "self_attention.dense", "mlp.dense_4h_to_h"),
}


def _exact(name):
    """A tiny model in float64, whose attention computes in float64 too."""
    hf = families.tiny_model(
        name, dtype=torch.float64, **({"attn_logit_softcapping": None} if name == "gemma2" else {})
    )
    hf.config._attn_implementation = "sdpa"
    if name == "mixtral":
        hf.set_experts_implementation("eager")
    for norm in hf.modules():
        if type(norm).__name__.endswith("RMSNorm"):
            norm.forward = MethodType(_rms_norm, norm)
    return actkit.load(hf)


def _rms_norm(norm, x):
    """Hugging Face's own computes in float32 whatever it is given, which finite differences would see."""
    gain = norm.weight + ("Gemma" in type(norm).__name__)
    return gain * x / (x.pow(2).mean(-1, keepdim=True) + getattr(norm, "variance_epsilon", 1e-6)).sqrt()


def _by_hand(hf, name, batch, target):
    """Gradients of the target's logit at each row's last token, with hooks and `retain_grad` of one's own."""
    hf = copy.deepcopy(hf)
    block = hf.get_submodule(PATHS[name][0])
    attn, down = (block.get_submodule(path) for path in PATHS[name][1:])
    seen = {}

    def keep(site, value):
        value = value[0] if isinstance(value, tuple) else value
        value.retain_grad()
        seen[site] = value

    block.register_forward_hook(lambda m, a, out: keep("resid_post.1", out))
    attn.register_forward_pre_hook(lambda m, args: keep("attn_z.1", args[0]))
    attn.register_forward_hook(lambda m, a, out: keep("attn_out.1", out))
    down.register_forward_pre_hook(lambda m, args: keep("mlp_post.1", args[0]))
    if name != "falcon":  # which adds to this very tensor in place: `retain_grad` would speak of the sum
        down.register_forward_hook(lambda m, a, out: keep("mlp_out.1", out))
    logits = hf(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids).logits
    last = logits[torch.arange(len(batch)), batch.last]
    last[:, target].sum().backward()
    return {site: value.grad for site, value in seen.items()}


@pytest.mark.parametrize("pad", ["left", "right"])
@pytest.mark.parametrize("name", PATHS)
def test_equal_to_autograd_by_hand(name, pad):
    model = _exact(name)
    batch = model.encode(ROWS, pad=pad)
    expected = _by_hand(model.hf, name, batch, 7)
    got = model.run(batch, capture=["*.1", "embed"], grad=True).grads(actkit.logit(7))
    assert len(expected) >= 4
    real = batch.attention_mask.bool()
    for site, gradient in expected.items():
        torch.testing.assert_close(got[site].flatten(2)[real], gradient[real], rtol=1e-10, atol=1e-13)
        assert bool(gradient[real].abs().max() > 1e-4)


@pytest.mark.parametrize("name", [*PATHS, "opt", "opt-postnorm", "olmo2", "falcon-serial"])
def test_equal_to_finite_differences_at_every_site(name):
    model = _exact(name)
    batch = model.encode(ROWS)
    sites = [site for site in model.sites if not site.startswith("attn_pattern")]
    metric = actkit.logit_difference(7, [3, 4])
    gradients = model.run(batch, capture=sites, grad=True).grads(metric)
    assert list(gradients) == sites
    generator = torch.Generator().manual_seed(0)
    for site in sites:
        direction = torch.randn(gradients[site].shape[2:], generator=generator, dtype=torch.float64)
        for pos in (1, -1):
            where = Where(rows=1, pos=pos)
            up, down = (
                metric(model.run(batch, edits=[actkit.add(site, direction, scale, where)]).logits)[1]
                for scale in (1e-5, -1e-5)
            )
            slot = batch.input_ids.shape[1] - 3 + 1 if pos == 1 else -1
            expected = (gradients[site][1, slot] * direction).sum()
            torch.testing.assert_close((up - down) / 2e-5, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "mixtral"])
def test_patterns_have_gradients_too(name):
    """In a middle layer, against finite differences; float32's softmax inside allows no more digits."""
    model = _exact(name)
    batch = model.encode(ROWS)
    gradient = model.run(batch, capture="attn_pattern.1", grad=True).grads(actkit.logit(7))["attn_pattern.1"]
    direction = torch.zeros(gradient.shape[2:], dtype=torch.float64)
    direction[1, 0] = 1.0
    at = Where(rows=0, pos=-1)
    up, down = (
        model.run(batch, edits=[actkit.add("attn_pattern.1", direction, scale, at)]).logits[0, 7]
        for scale in (1e-4, -1e-4)
    )
    torch.testing.assert_close((up - down) / 2e-4, gradient[0, -1, 1, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "falcon", "opt", "mixtral"])
def test_frozen_models_have_the_same_gradients(name):
    open_, frozen = (actkit.load(families.tiny_model(name)) for _ in range(2))
    frozen.hf.requires_grad_(False)
    capture = [site for site in open_.sites if site.partition(".")[0] != "expert_weights"]
    expected, got = (
        model.run(model.encode(ROWS), capture=capture, grad=True).grads(actkit.logprob(9)) for model in (open_, frozen)
    )
    for site in capture:
        torch.testing.assert_close(got[site], expected[site], rtol=0, atol=0)
    assert bool(got["embed"].abs().sum() > 0)
    assert not any(parameter.requires_grad for parameter in frozen.hf.parameters())


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "gpt_neox", "falcon", "mixtral"])
def test_nothing_is_left_behind_and_the_logits_are_the_models_own(name):
    model = actkit.load(families.tiny_model(name))
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf.modules()]
    batch = model.encode(ROWS)
    capture = [site for site in model.sites if site.partition(".")[0] not in ("attn_pattern", "logits")]
    run = model.run(batch, capture=capture, logits="all", grad=True)
    run.grads(lambda logits: logits.sum())
    with torch.no_grad():
        plain = model.hf(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids
        ).logits
    assert torch.equal(run.logits, plain)
    assert all(parameter.grad is None for parameter in model.hf.parameters())
    assert all(parameter.requires_grad for parameter in model.hf.parameters())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf.modules()] == hooks


def test_a_row_has_the_gradients_it_has_alone():
    model = _exact("llama")
    together = model.run(model.encode(ROWS), capture="*", grad=True).grads(actkit.logit([7, 8]))
    alone = model.run(model.encode(ROWS[1:]), capture="*", grad=True).grads(actkit.logit(8))
    for site, gradient in together.items():
        assert bool(gradient.isfinite().all())
        if not site.startswith("attn_pattern"):
            torch.testing.assert_close(gradient[1:, -3:], alone[site], rtol=1e-9, atol=1e-12)


def test_sites_after_the_metric_have_gradient_zero(tiny):
    run = tiny.run(tiny.encode([[5, 6, 7]]), capture=["embed", "resid_post.*"], logits=None, grad=True)
    gradients = run.grads(run["resid_post.1"][0, -1, 3])
    assert bool(gradients["resid_post.0"].abs().sum() > 0)
    expected = torch.zeros(1, 3, 32)
    expected[0, -1, 3] = 1
    assert torch.equal(gradients["resid_post.1"], expected)
    assert torch.equal(gradients["resid_post.2"], torch.zeros(1, 3, 32))


def test_several_metrics_of_one_run_and_autograd_itself(tiny):
    run = tiny.run(tiny.encode(ROWS), capture=["attn_z.1", "mlp_post.*"], grad=True)
    first = run.grads(actkit.logit(7))["attn_z.1"]
    second = run.grads(actkit.logit(8))["attn_z.1"]
    both = run.grads(actkit.logit_difference(7, 8))["attn_z.1"]
    torch.testing.assert_close(first - second, both)
    (own,) = torch.autograd.grad(run.logits[:, 7].sum(), run["attn_z.1"])
    assert torch.equal(own, first)


def test_an_edit_ahead_of_a_site_is_part_of_the_graph(tiny):
    """Scaling a neuron by 2 doubles what its value before the edit counts, seen at the neuron's input."""
    batch = tiny.encode([[5, 6, 7]])
    cut = tiny.run(batch, capture="resid_post.0", edits=[actkit.zero("resid_post.1")], grad=True)
    assert torch.equal(cut.grads(actkit.logit(7))["resid_post.0"], torch.zeros(1, 3, 32))


def test_half_precision_stays_finite(tiny):
    model = actkit.load(families.tiny_model("llama", dtype=torch.bfloat16))
    gradients = model.run(model.encode(ROWS), capture="mlp_post.*", grad=True).grads(actkit.logit(7))
    exact = tiny.run(tiny.encode(ROWS), capture="mlp_post.*", grad=True).grads(actkit.logit(7))
    for site, gradient in gradients.items():
        assert gradient.dtype == torch.bfloat16
        error = (gradient.float() - exact[site]).norm() / exact[site].norm()
        assert error < 0.1


@pytest.mark.parametrize(
    ("options", "metric", "said"),
    [
        ({}, actkit.logit(7), "kept no graph.*grad=True"),
        ({"grad": True, "logits": None}, actkit.logit(7), "no logits for the metric to read"),
        ({"grad": True}, lambda logits: logits, r"one number, or one per row; this one has shape \[1, 320\]"),
        ({"grad": True}, lambda logits: logits.detach().sum(), "does not depend on this run"),
        ({"grad": True}, lambda logits: logits.sum().item(), "gave float, not a tensor"),
        ({"grad": True}, actkit.logit(320), "ids 0 to 319"),
        ({"grad": True}, actkit.logit([1, 2]), "one id is needed, or one for each of 1 rows"),
        ({"grad": True, "logits": "all"}, actkit.logit(1), r"shape \[B, V\], not \[1, 3, 320\]"),
    ],
)
def test_what_cannot_be_differentiated_is_refused(tiny, options, metric, said):
    run = tiny.run(tiny.encode([[5, 6, 7]]), capture="mlp_post.1", **options)
    with pytest.raises(actkit.ActkitError, match=re.compile(said, re.DOTALL)):
        run.grads(metric)


def test_a_metric_of_another_run_is_refused(tiny):
    one, other = (tiny.run(tiny.encode([[5, 6]]), capture="mlp_post.1", grad=True) for _ in range(2))
    with pytest.raises(actkit.ActkitError, match=r"does not depend on mlp_post\.1"):
        one.grads(other.logits[0, 3])


def test_a_run_without_captures_or_moved_elsewhere_is_refused(tiny):
    batch = tiny.encode([[5, 6]])
    with pytest.raises(actkit.ActkitError, match="captured nothing"):
        tiny.run(batch, grad=True).grads(actkit.logit(3))
    with pytest.raises(actkit.ActkitError, match="Leave out `to`"):
        tiny.run(batch, capture="embed", grad=True, to="cpu")
