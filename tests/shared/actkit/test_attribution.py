"""Direct logit attribution against plain Hugging Face logits, and against sums written out by hand."""

import re

import actkit
import polars as pl
import pytest
import torch
from specimens import families

ROWS = [[5, 6, 7, 8], [9, 10]]
KINDS = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "attn_z", "mlp_post"]


def _run(model, rows=ROWS, **options):
    capture = [name for name, site in model.sites.items() if site.kind in KINDS]
    return model.run(model.encode(rows), capture=capture, **options)


def _uncapped(model, rows=ROWS):
    """[B, V]: what the head's own module gives at each row's last token, in a plain forward of each row."""
    found = []
    handle = model.head.register_forward_hook(lambda m, a, out: found.append(out[0, -1].detach()))
    with torch.no_grad():
        for row in rows:
            model.hf(input_ids=torch.tensor([row]))
    handle.remove()
    scaling = getattr(model.hf.config, "logits_scaling", 1)  # by which Granite divides and HyperCLOVA X multiplies
    return torch.stack(found) * (1 / scaling if model.hf.config.model_type == "granite" else scaling)


# Post-norms (gemma2, olmo2), parallel blocks (gpt_neox, falcon, gptj), biases everywhere (gpt2, opt), multipliers
# (granite), both at once (hyperclovax), other norms (stablelm, starcoder2).
@pytest.mark.parametrize("by", ["layer", "head", "neuron"])
@pytest.mark.parametrize(
    "name",
    ["llama", "gpt2", "gemma2", "olmo2", "gpt_neox", "falcon", "gptj", "opt", "granite", "hyperclovax", "stablelm"],
)
def test_the_parts_sum_to_the_models_own_logit(name, by):
    model = actkit.load(families.tiny_model(name))
    logits = _uncapped(model)
    expected = logits[[0, 1], [3, 4]] - logits[:, 7]
    found = actkit.direct_logit_attribution(model, _run(model), [3, 4], contrast=7, by=by)
    total = sum(part.reshape(2, -1).sum(-1) for part in found.parts.values())
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.logit, expected, rtol=1e-5, atol=1e-5)
    assert float(found.parts["attn" if by == "neuron" else "mlp"].abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "falcon", "hyperclovax"])
def test_parts_of_a_layer_sum_to_that_layer(name):
    """And what is left over is what the biases wrote: nothing in models without any."""
    model = actkit.load(families.tiny_model(name))
    run = _run(model)
    layer, head, neuron = (
        actkit.direct_logit_attribution(model, run, 3, by=by).parts for by in ("layer", "head", "neuron")
    )
    torch.testing.assert_close(head["head"].sum(-1) + head["attn_rest"], layer["attn"])
    torch.testing.assert_close(neuron["neuron"].sum(-1) + neuron["mlp_rest"], layer["mlp"])
    biased = name == "gpt2"
    for rest in (head["attn_rest"], neuron["mlp_rest"]):
        assert bool(rest.abs().max() > 1e-2) == biased
        assert biased or bool(rest.abs().max() < 1e-5)


def test_llama_written_out():
    """Every number from its definition, in float64."""
    model = actkit.load(families.tiny_model("llama", dtype=torch.float64))
    model.hf.config._attn_implementation = "sdpa"
    run = _run(model)
    hf, at = model.hf.model, lambda name: run[name][:, -1]
    stream = at("resid_post.2")
    scale = (stream.pow(2).mean(-1, keepdim=True) + hf.norm.variance_epsilon).rsqrt()
    direction = (model.head.weight[3] - model.head.weight[7]) * hf.norm.weight * scale
    found = actkit.direct_logit_attribution(model, run, 3, contrast=7, by="head")
    o_proj = hf.layers[1].self_attn.o_proj.weight
    for h in range(4):
        written = at("attn_z.1")[:, h] @ o_proj[:, 8 * h : 8 * h + 8].T
        torch.testing.assert_close(found.parts["head"][:, 1, h], (written * direction).sum(-1), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.parts["embed"], (at("resid_pre.0") * direction).sum(-1), rtol=1e-6, atol=1e-9)
    neurons = actkit.direct_logit_attribution(model, run, 3, contrast=7, by="neuron").parts["neuron"]
    values = hf.layers[2].mlp.down_proj.weight.T
    torch.testing.assert_close(neurons[:, 2], at("mlp_post.2") * (direction @ values.T), rtol=1e-6, atol=1e-9)


def test_gpt2s_layernorm_is_centred():
    model = actkit.load(families.tiny_model("gpt2"))
    run = _run(model)
    stream, norm = run["resid_post.2"][:, -1], model.hf.transformer.ln_f
    scale = (stream.var(-1, correction=0, keepdim=True) + norm.eps).rsqrt()
    written = run["mlp_out.0"][:, -1]
    expected = (scale * (written - written.mean(-1, keepdim=True)) * norm.weight * model.head.weight[3]).sum(-1)
    found = actkit.direct_logit_attribution(model, run, 3)
    torch.testing.assert_close(found.parts["mlp"][:, 0], expected)
    torch.testing.assert_close(found.parts["bias"], (norm.bias @ model.head.weight[3]).expand(2))


def test_ablating_a_last_layers_neuron_costs_what_was_attributed_to_it():
    """With the norm's scale held, taking a neuron away takes its contribution away, and nothing else."""
    model = actkit.load(families.tiny_model("llama"))
    run = _run(model)
    found = actkit.direct_logit_attribution(model, run, 3, by="neuron")
    neuron = int(found.parts["neuron"][0, 2].abs().argmax())
    without = _run(model, edits=[actkit.zero("mlp_post.2", actkit.Where(units=neuron))])
    scale, less = (r["resid_post.2"][:, -1].pow(2).mean(-1).add(1e-6).sqrt() for r in (run, without))
    lost = run.logits[:, 3] - without.logits[:, 3] * less / scale
    torch.testing.assert_close(lost, found.parts["neuron"][:, 2, neuron], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["jamba", "mamba", "nemotron_h", "mixtral"])
def test_layers_of_another_kind_are_told_whole(name):
    """Mixers in place of attention, layers of one part, experts: their layers sum up, and have no heads."""
    model = actkit.load(families.tiny_model(name))
    rows = [[5, 6, 7], [9, 10, 11]]
    run = _run(model, rows)
    for by in ("layer", "head") if name in ("jamba", "nemotron_h") else ("layer",):
        found = actkit.direct_logit_attribution(model, run, 3, by=by)
        total = sum(part.reshape(2, -1).sum(-1) for part in found.parts.values())
        torch.testing.assert_close(total, _uncapped(model, rows)[:, 3], rtol=1e-5, atol=1e-5)
        if by == "head":
            with_heads = [f"attn_z.{layer}" in model.sites for layer in range(model.dims.layers)]
            assert (found.parts["head"].abs().amax((0, 2)) > 0).tolist() == with_heads
            assert len(set(with_heads)) == 2


def test_any_real_position_can_be_asked_for():
    model = actkit.load(families.tiny_model("llama"))
    padded = actkit.direct_logit_attribution(model, _run(model), 3, pos=1)
    alone = actkit.direct_logit_attribution(model, _run(model, [[5, 6], [9, 10]]), 3)
    for name, part in padded.parts.items():
        torch.testing.assert_close(part, alone.parts[name], rtol=1e-5, atol=1e-6)


def test_half_precision_adds_up_too():
    model = actkit.load(families.tiny_model("gemma2", dtype=torch.bfloat16))
    run = _run(model)
    for by in ("layer", "head", "neuron"):
        found = actkit.direct_logit_attribution(model, run, 3, by=by)
        total = sum(part.reshape(2, -1).sum(-1) for part in found.parts.values())
        torch.testing.assert_close(total, found.logit, rtol=1e-4, atol=1e-4)
        assert found.logit.dtype == torch.float32
    torch.testing.assert_close(found.logit, _uncapped(model)[:, 3].float(), rtol=0.05, atol=0.05)


def test_tables_and_pictures(tiny):
    run = tiny.run(
        tiny.encode(["12 apples", "7"]), capture=[name for name, site in tiny.sites.items() if site.kind in KINDS]
    )
    found = actkit.direct_logit_attribution(tiny, run, "Ġapples", contrast=5, by="head")
    table = found.table()
    assert table.columns == ["row", "part", "layer", "unit", "value", "share"]
    assert table.height == 2 * (1 + 3 * 4 + 3 + 3 + 1)
    sums = table.group_by("row", maintain_order=True).agg(pl.col("value").sum(), pl.col("share").sum())
    assert sums["value"].to_list() == pytest.approx(found.logit.tolist(), abs=1e-5)
    assert sums["share"].to_list() == pytest.approx([1, 1], abs=1e-4)
    line = table.filter(row=1, part="head", layer=2, unit=3)
    assert line["value"].item() == pytest.approx(float(found.parts["head"][1, 2, 3]))
    top = found.table(2)
    assert top["row"].to_list() == [0, 0, 1, 1]
    assert top["value"].abs().to_list()[0] == pytest.approx(table.filter(row=0)["value"].abs().max())
    assert "Logit of ' apples' − " in found.plot(1).axes[0].get_title("left")
    assert found.plot()._repr_png_().startswith(b"\x89PNG")
    bars = actkit.direct_logit_attribution(tiny, run, 5, by="neuron").plot(top=7).axes[0]
    assert len(bars.patches) == 7
    assert "neuron 2." in " ".join(label.get_text() for label in bars.get_yticklabels())
    layers = actkit.direct_logit_attribution(tiny, run, 5).plot().axes[0]
    assert [bar.get_height() for bar in layers.patches][:3] == pytest.approx(
        actkit.direct_logit_attribution(tiny, run, 5).parts["attn"][0].tolist()
    )


@pytest.mark.parametrize(
    ("name", "by", "said"),
    [
        ("opt-postnorm", "layer", r"attn_out\.0 of OPT \(post-norm\) is not added to the stream"),
        ("doge", "head", r"attn_out\.0 of Doge is not added to the stream"),
        ("mixtral", "neuron", "neurons of layer 0 of Mixtral are experts'"),
        ("modernbert-decoder", "layer", "more than a linear map"),
    ],
)
def test_families_that_are_no_sum_are_refused_by_name(name, by, said):
    model = actkit.load(families.tiny_model(name))
    with pytest.raises(actkit.ActkitError, match=said):
        actkit.direct_logit_attribution(model, _run(model), 3, by=by)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "block"}, "by is 'block'"),
        ({"pos": 2}, r"Position 2 is not in every row: they have \[4, 2\] tokens"),
        ({"target": [1, 2, 3]}, "3 tokens for 2 rows"),
        ({"target": 320}, "ids 0 to 319"),
        ({"target": " 12 apples"}, "is not one token of the vocabulary but"),
    ],
)
def test_wrong_requests_are_refused(tiny, options, said):
    with pytest.raises(actkit.ActkitError, match=said):
        actkit.direct_logit_attribution(tiny, _run(tiny), **{"target": 3, **options})


def test_missing_captures_are_named(tiny):
    run = tiny.run(tiny.encode(ROWS), capture=["resid*"])
    said = r"such as attn_z\.0.*Run with capture=\['resid_pre\.0', 'resid_mid\.\*', .*'attn_z\.\*'\]"
    with pytest.raises(actkit.UnknownSite, match=re.compile(said, re.DOTALL)):
        actkit.direct_logit_attribution(tiny, run, 3, by="head")


def test_an_edited_part_is_not_taken_apart(tiny):
    run = _run(tiny, edits=[actkit.zero("attn_out.1")])
    with pytest.raises(actkit.ActkitError, match=r"attn_out\.1 is not attn_z\.1 through its projection"):
        actkit.direct_logit_attribution(tiny, run, 3, by="head")
    actkit.direct_logit_attribution(tiny, run, 3, by="layer")
