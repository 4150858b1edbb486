"""Layers of one model differ: a glob takes those that have the site, and a layer without it says what it is."""

import actkit
import pytest
from specimens import families


@pytest.fixture(scope="module")
def load():
    return lambda name: actkit.load(families.tiny_model(name))


@pytest.mark.parametrize(
    ("name", "site", "what"),
    [
        ("jamba", "attn_z.0", r"layer 0 has no attn_z: it is a Mamba \(state-space\) layer"),
        ("lfm2", "attn_out.2", "layer 2 has no attn_out: it is a short-convolution layer"),
        ("qwen3_next", "attn_pattern.0", "layer 0 has no attn_pattern: it is a linear-attention"),
        ("nemotron_h", "mlp_post.0", r"layer 0 has no mlp_post: it is a Mamba \(state-space\) layer"),
        ("nemotron_h", "attn_z.2", "layer 2 has no attn_z: it is a MLP layer"),
        ("deepseek_v3", "expert_weights.0", "layer 0 has no expert_weights: it is a dense layer"),
        ("recurrent_gemma", "attn_z.0", r"layer 0 has no attn_z: it is a recurrent \(RG-LRU\) layer"),
    ],
)
def test_a_layer_without_the_site_says_what_it_is_and_what_it_has(load, name, site, what):
    model = load(name)
    with pytest.raises(actkit.UnknownSite, match=what) as error:
        model.run(model.encode([[5, 6]]), capture=site)
    kind, _, layer = site.partition(".")
    assert f"Layer {layer} has resid_pre" in error.value.hint
    elsewhere = [s.layer for s in model.sites.values() if s.kind == kind]
    assert f"Layers with {kind}: {', '.join(map(str, elsewhere))};" in error.value.hint


def test_a_glob_takes_the_layers_that_have_the_site(load):
    model = load("jamba")
    run = model.run(model.encode([[5, 6, 7]]), capture=["attn_z.*", "mlp_post.*", "resid_post.*"])
    assert [name for name in run if name.startswith("attn")] == ["attn_z.1"]
    assert [name for name in run if name.startswith("resid")] == ["resid_post.0", "resid_post.1", "resid_post.2"]
    assert [run[f"mlp_post.{i}"].dim() for i in range(3)] == [3, 4, 3]  # the middle layer's neurons are in experts


@pytest.mark.parametrize(
    ("name", "site", "why"),
    [
        ("mamba", "attn_z.0", r"Mamba has no attn_z: its layers are Mamba \(state-space\) layers, without attention"),
        ("mamba", "mlp_post.*", "Mamba has no mlp_post: a layer is one Mamba block, without an MLP"),
        ("dbrx", "mlp_post.1", "DBRX has no mlp_post: its experts do not go through"),
        ("llama", "expert_weights.0", "Llama has no expert_weights: it has no experts"),
        ("cohere", "resid_mid.1", "Cohere has no resid_mid: attention and MLP read the same stream in parallel"),
        ("bloom", "attn_pattern.0", "BLOOM has no attn_pattern: its attention does not go through"),
    ],
)
def test_a_kind_no_layer_has_is_refused_with_the_familys_reason(load, name, site, why):
    model = load(name)
    with pytest.raises(actkit.UnknownSite, match=why):
        model.run(model.encode([[5, 6]]), capture=site)


def test_value_vectors_of_a_layer_without_neurons_are_refused(load):
    model = load("nemotron_h")
    with pytest.raises(actkit.UnknownSite, match="layer 0 has no mlp_post"):
        model.value_vectors(0)
    assert model.value_vectors(2).shape == (48, 32)
    assert load("mixtral").value_vectors(1).shape == (4, 48, 32)
