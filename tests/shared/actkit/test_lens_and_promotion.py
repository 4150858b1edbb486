"""Readings of streams and value vectors against NumPy."""

import actkit
import numpy as np
import pytest
import torch
from specimens import families

DENSE = ["llama", "gemma2", "gpt2", "gpt_neox", "opt-postnorm", "phi3"]


def _unembedding(model):
    head = model.head.weight.detach().double().numpy()
    projection = getattr(model.hf.base_model, "decoder", None)
    projection = getattr(projection, "project_out", None)
    return head if projection is None else head @ projection.weight.detach().double().numpy()


def _best(scores, k):
    order = np.argsort(-scores, kind="stable")[:k]
    return order.tolist(), scores[order]


@pytest.mark.parametrize("family", DENSE)
def test_raw_promotion_is_u_times_v(family):
    model = actkit.load(families.tiny_model(family))
    table = actkit.promoted_tokens(model, [(2, 5), (0, 40)], k=7, lens="raw")
    unembedding = _unembedding(model)
    for layer, neuron in [(2, 5), (0, 40)]:
        vector = model.value_vectors(layer)[neuron].detach().double().numpy()
        for pole, sign in (("+", 1), ("-", -1)):
            scores = unembedding @ vector
            ids, best = _best(sign * scores, 7)
            got = table.filter(layer=layer, neuron=neuron, pole=pole)
            assert got["token_id"].to_list() == ids
            assert got["rank"].to_list() == list(range(1, 8))
            np.testing.assert_allclose(got["score"], sign * best, atol=1e-5)
            probs = np.exp(sign * scores) / np.exp(sign * scores).sum()
            np.testing.assert_allclose(got["prob"], probs[ids], atol=1e-6)


@pytest.mark.parametrize("family", DENSE)
def test_norm_promotion_folds_the_final_norm_and_is_a_z_score(family):
    model = actkit.load(families.tiny_model(family))
    table = actkit.promoted_tokens(model, [(1, 3)], k=5, lens="norm", poles="-")
    vector = model.value_vectors(1)[3].detach().double().numpy()
    if family in ("gpt2", "gpt_neox"):
        vector = vector - vector.mean()
    if family != "opt-postnorm":  # which has no final norm
        gain = model.hf.get_submodule(model.family.final_norm).weight.detach().double().numpy()
        vector = vector * (1 + gain if family == "gemma2" else gain)
    scores = _unembedding(model) @ vector
    z = (scores - scores.mean()) / scores.std()
    ids, best = _best(-z, 5)
    assert table["token_id"].to_list() == ids
    np.testing.assert_allclose(table["score"], -best, atol=1e-4)
    assert table["prob"].null_count() == 5
    assert table["pole"].unique().to_list() == ["-"]


def test_value_vectors_are_what_a_neuron_writes():
    """Set one neuron to one and all others to zero: the MLP then writes its value vector and its bias."""
    for family in DENSE:
        model = actkit.load(families.tiny_model(family))
        batch = model.encode([[5, 6]])
        edits = [actkit.zero("mlp_post.1"), actkit.set_("mlp_post.1", 1.0, actkit.Where(units=9))]
        written = model.run(batch, capture="mlp_out.1", edits=edits)["mlp_out.1"][0, 0]
        nothing = model.run(batch, capture="mlp_out.1", edits=edits[:1])["mlp_out.1"][0, 0]
        torch.testing.assert_close(written - nothing, model.value_vectors(1)[9].detach(), atol=1e-6, rtol=1e-5)


def test_tables_keep_the_order_asked_for_and_spell_tokens(tiny):
    neurons = [(2, 1), (0, 7), (2, 0), (2, 1)]
    table = actkit.promoted_tokens(tiny, neurons, k=3)
    assert table.select("layer", "neuron").unique(maintain_order=True).rows() == [(2, 1), (0, 7), (2, 0)]
    assert table["pole"].to_list() == ["+", "+", "+", "-", "-", "-"] * 3
    spelled = tiny.tokenizer.convert_ids_to_tokens(table["token_id"].to_list())
    assert table["token"].to_list() == spelled
    every = actkit.promoted_tokens(tiny, [(0, 0)], k=320)
    assert every.filter(token="Ġapples")["text"].unique().to_list() == [" apples"]


def test_without_a_tokenizer_tokens_are_ids(bare):
    table = actkit.promoted_tokens(bare, [(0, 0)], k=1, poles="+")
    assert table["token"].to_list() == [f"<{table['token_id'][0]}>"]


def test_pieces_do_not_change_the_table(tiny, monkeypatch):
    neurons = [(layer, i) for layer in (2, 0) for i in range(10)]
    whole = actkit.promoted_tokens(tiny, neurons, k=4)
    monkeypatch.setattr("actkit.promote._CHUNK", 320 * 3)
    torch.testing.assert_close(
        torch.tensor(actkit.promoted_tokens(tiny, neurons, k=4)["score"].to_list()),
        torch.tensor(whole["score"].to_list()),
    )


def test_a_neuron_that_writes_nothing_promotes_nothing(reciter):
    table = actkit.promoted_tokens(reciter, [(0, 0)], k=4)
    assert table["score"].to_list() == [0.0] * 8


def test_no_neurons_is_an_empty_table(tiny):
    table = actkit.promoted_tokens(tiny, [])
    assert table.height == 0
    assert table.columns == ["layer", "neuron", "pole", "rank", "token_id", "token", "text", "score", "prob"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"neurons": [(0, 48)]}, "Layer 0 has neurons 0 to 47, not 48"),
        ({"neurons": [(0, -1)]}, "Layer 0 has neurons 0 to 47, not -1"),
        ({"neurons": [(3, 0)]}, "No layer 3: the model has layers 0 to 2"),
        ({"neurons": [(0, 0)], "k": 0}, "k is 0; it must lie between 1 and the vocabulary's 320"),
        ({"neurons": [(0, 0)], "k": 321}, "k is 321"),
        ({"neurons": [(0, 0)], "lens": "tuned"}, "lens 'tuned' must be"),
        ({"neurons": [(0, 0)], "poles": "up"}, "poles 'up' must be"),
    ],
)
def test_wrong_requests_are_refused(tiny, options, said):
    with pytest.raises(actkit.ActkitError, match=said):
        actkit.promoted_tokens(tiny, **options)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "opt-postnorm"])
def test_the_lens_equals_the_models_own_head_on_every_stream(family, monkeypatch):
    model = actkit.load(families.tiny_model(family))
    batch = model.encode([[5, 6, 7, 8], [9, 10]])
    run = model.run(batch, capture="resid_post.*", logits="all")
    targets = batch.input_ids.roll(-1, dims=1)
    monkeypatch.setattr("actkit.lens._CHUNK", 320 * 3)  # three slots at a time: pieces must not show
    lens = actkit.logit_lens(model, run, targets=targets, top=5)
    assert lens.layers == [0, 1, 2]
    assert lens.top_ids.shape == (3, 2, 4, 5)
    final = run.logits.double().numpy()
    logprobs = final - np.log(np.exp(final).sum(-1, keepdims=True))
    np.testing.assert_array_equal(lens.top_ids[-1], np.argsort(-logprobs, axis=-1, kind="stable")[..., :5])
    np.testing.assert_allclose(lens.top_logprobs[-1], -np.sort(-logprobs, axis=-1)[..., :5], atol=1e-4)
    np.testing.assert_allclose(lens.entropy[-1], -(np.exp(logprobs) * logprobs).sum(-1), atol=1e-4)
    followed = np.take_along_axis(logprobs, targets.numpy()[..., None], axis=-1)
    np.testing.assert_allclose(lens.target_logprobs[-1], followed[..., 0], atol=1e-4)
    np.testing.assert_array_equal(lens.target_ranks[-1], (logprobs > followed).sum(-1))


def test_an_early_layers_lens_is_its_stream_through_norm_and_head(tiny):
    run = tiny.run(tiny.encode([[5, 6, 7]]), capture="resid_post.0")
    norm = tiny.hf.model.norm
    x = run["resid_post.0"].double().numpy()
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + norm.variance_epsilon) * norm.weight.detach().double().numpy()
    logits = x @ tiny.hf.lm_head.weight.detach().double().numpy().T
    lens = actkit.logit_lens(tiny, run, top=1)
    np.testing.assert_array_equal(lens.top_ids[0, ..., 0], logits.argmax(-1))
    assert lens.target_ranks is None
    assert lens.target_logprobs is None


def test_a_lens_without_a_stream_says_what_to_capture(tiny):
    run = tiny.run(tiny.encode([[5, 6]]), capture="mlp_post.*")
    with pytest.raises(actkit.UnknownSite, match='Run with capture="resid_post'):
        actkit.logit_lens(tiny, run)
    run = tiny.run(tiny.encode([[5, 6]]), capture="resid_post.0")
    with pytest.raises(actkit.ActkitError, match=r"targets have shape \[1\]; the batch has \[1, 2\]"):
        actkit.logit_lens(tiny, run, targets=torch.tensor([1]))
    with pytest.raises(actkit.ActkitError, match="top is 0"):
        actkit.logit_lens(tiny, run, top=0)
