"""Mistakes are errors that name the thing, the nearest right thing, and the fix."""

import actkit
import pytest
import torch
from actkit import Where
from specimens import families
from transformers import AutoConfig, AutoModelForCausalLM


@pytest.mark.parametrize(
    ("site", "said"),
    [
        ("mlp_pots.1", r"No site 'mlp_pots.1'. Nearest: mlp_post.1"),
        ("mlp_post.7", r"No site 'mlp_post.7': the model has layers 0 to 2."),
        ("mlp_post.-1", r"layers 0 to 2"),
        ("mlp_past.*", r"Nearest: mlp_post"),
        ("attn_scores.0", r"Kinds: embed, resid_pre.L, attn_q.L"),
    ],
)
def test_an_unknown_site_names_the_nearest(tiny, site, said):
    batch = tiny.encode([[5, 6]])
    for attempt in (
        lambda: tiny.run(batch, capture=site),
        lambda: tiny.run(batch, edits=[actkit.zero(site)]),
        lambda: tiny.generate(batch, capture=["embed", site], max_new_tokens=1),
    ):
        with pytest.raises(actkit.UnknownSite, match=said):
            attempt()


def test_experts_outside_the_public_interface_refuse_neurons_by_name_but_give_the_rest():
    model = actkit.load(families.tiny_model("dbrx"))
    batch = model.encode([[5, 6, 7]])
    for attempt in (lambda: model.run(batch, capture="mlp_post.*"), lambda: model.value_vectors(0)):
        with pytest.raises(actkit.UnknownSite, match=r"DBRX has no mlp_post: .*experts"):
            attempt()
    assert model.run(batch, capture="mlp_out.*")["mlp_out.2"].shape == (1, 3, 32)


def test_neurons_of_experts_are_promoted_under_one_running_number():
    model = actkit.load(families.tiny_model("mixtral"))
    table = actkit.promoted_tokens(model, [(1, 2 * 48 + 5)], k=3, lens="raw", poles="+")
    experts = model.blocks[1].get_submodule("mlp.experts")
    scores = model.hf.lm_head.weight @ experts.down_proj[2][:, 5]
    assert table["token_id"].to_list() == scores.topk(3).indices.tolist()


def test_parallel_blocks_refuse_the_stream_between():
    model = actkit.load(families.tiny_model("gpt_neox"))
    with pytest.raises(actkit.UnknownSite, match="GPT-NeoX has no resid_mid: attention and MLP read the same stream"):
        model.run(model.encode([[5]]), capture="resid_mid.0")


def test_an_architecture_that_cannot_be_served_is_refused_by_name():
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model("cpmant", **sizes, dim_head=8, dim_ff=16)
    with pytest.raises(actkit.UnknownFamily, match=r"does not serve the architecture 'cpmant': it reads prompt"):
        actkit.load(AutoModelForCausalLM.from_config(config))


def test_a_site_that_never_fires_is_an_error(tiny, monkeypatch):
    batch = tiny.encode([[5, 6]])
    block = tiny.blocks[1]
    monkeypatch.setattr(block, "forward", lambda hidden, *args, **kwargs: hidden)  # skips attention and MLP
    with pytest.raises(actkit.NeverFired, match=r"mlp_post.1 never ran"):
        tiny.run(batch, capture="mlp_post.*")
    with pytest.raises(actkit.NeverFired, match=r"mlp_post.1 never ran"):
        tiny.generate(batch, capture="mlp_post.1", max_new_tokens=1)


@pytest.mark.parametrize("where", [Where(pos=9), Where(rows=4), Where(pos=-9), Where(rows=1, pos=3)])
def test_an_edit_applied_zero_times_is_an_error(tiny, where):
    batch = tiny.encode([[5, 6, 7, 8], [9, 10]])
    with pytest.raises(actkit.EditError, match=r"Zero\(at='embed'.* names (row|position) -?\d"):
        tiny.run(batch, edits=[actkit.zero("embed", where)])


def test_an_edit_beyond_the_finished_text_is_an_error(tiny):
    batch = tiny.encode([[5, 6, 7, 8]])
    with pytest.raises(actkit.EditError, match="applied zero times"):
        tiny.generate(batch, max_new_tokens=2, eos=False, edits=[actkit.zero("embed", Where(pos=30))])
    with pytest.raises(actkit.EditError, match=r"not known while it is being decoded[\s\S]*absolute position"):
        tiny.generate(batch, max_new_tokens=2, edits=[actkit.zero("embed", Where(pos=-1))])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (actkit.zero("mlp_post.0", Where(units=48)), r"mlp_post.0 has units 0 to 47; the edit asks for \[48\]"),
        (actkit.zero("attn_z.0", Where(heads=4)), r"attn_z.0 has heads 0 to 3"),
        (actkit.zero("mlp_post.0", Where(heads=0)), r"mlp_post.0 has no heads"),
        (actkit.mean("mlp_post.0", torch.ones(7)), r"shape \[48\], not \[7\]"),
        (actkit.set_("mlp_post.0", torch.ones(7)), r"set at mlp_post.0: values of shape \[7\] do not fit"),
        (actkit.fn("embed", lambda x: x[:, :3]), r"must give a tensor of shape \[4, 32\]"),
    ],
)
def test_an_edit_that_does_not_fit_says_what_would(tiny, edit, said):
    with pytest.raises(actkit.EditError, match=said):
        tiny.run(tiny.encode([[5, 6, 7, 8]]), edits=[edit])


def test_a_swap_without_source_is_an_error(tiny):
    run = tiny.run(tiny.encode([[5, 6, 7]]), capture="embed")
    with pytest.raises(actkit.EditError, match=r"swap at mlp_out.0: the source did not capture it; it has embed"):
        actkit.swap("mlp_out.0", run)
    with pytest.raises(actkit.EditError, match="nowhere in the source"):
        actkit.swap("embed", run, Where(pos=5))
    with pytest.raises(actkit.EditError, match="touches 4 places but its source gives 3"):
        tiny.run(tiny.encode([[5, 6, 7, 8]]), edits=[actkit.swap("embed", run)])


def test_asking_for_nothing_is_an_error(tiny):
    with pytest.raises(actkit.ActkitError, match="Nothing was asked for"):
        tiny.run(tiny.encode([[5]]), logits=None)
    with pytest.raises(actkit.ActkitError, match="logits must be"):
        tiny.run(tiny.encode([[5]]), logits="first")


def test_hints_are_part_of_the_message_and_kept_apart(tiny):
    with pytest.raises(actkit.UnknownSite) as caught:
        tiny.run(tiny.encode([[5]]), capture="neurons.0")
    assert caught.value.hint
    assert str(caught.value).endswith(caught.value.hint)
    assert isinstance(caught.value, ValueError)
