"""Promise 3: queries, keys, values and patterns are Hugging Face's own, and change nothing unless they are edited."""

import copy
import inspect
import sys

import actkit
import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS


@pytest.fixture
def attended(model):
    """The layers that give patterns; skipped, with the reason, where there are none."""
    layers = [site.layer for site in model.sites.values() if site.kind == "attn_pattern"]
    if not layers:
        with pytest.raises(actkit.UnknownSite) as error:
            model.run(model.encode([[5, 6]]), capture="attn_pattern.0")
        pytest.skip(str(error.value).splitlines()[0])
    return layers


@pytest.fixture
def eager(model):
    """A copy of the model whose attention is eager in every layer."""
    hf = copy.deepcopy(model.hf)
    hf.set_attn_implementation("eager")
    return actkit.load(hf)


def _attentions(hf, batch, plain, layers):
    """Hugging Face's own patterns [b, H, T, T] by layer, of the layers that have attention."""
    given = plain(copy.deepcopy(hf), batch, output_attentions=True, use_cache=False).attentions
    return dict(zip(layers, given, strict=True)) if len(given) == len(layers) else {i: given[i] for i in layers}


def _gap(pattern, theirs, batch):
    """Largest difference over real queries and keys; ours counts keys among the row's real tokens."""
    gaps = []
    for row, mask in enumerate(batch.attention_mask.bool()):
        n = int(mask.sum())
        gaps.append((pattern[row][mask][..., :n] - theirs[row][:, mask][..., mask].transpose(0, 1)).abs().max())
        assert not pattern[row][mask][..., n:].any()
    return float(max(gaps))


@pytest.mark.parametrize("pad", ["left", "right"])
def test_patterns_are_bit_equal_to_hfs_eager_ones_in_every_layer(eager, attended, padded, plain, pad):
    batch = padded(pad)
    theirs = _attentions(eager.hf, batch, plain, attended)
    run = eager.run(batch, capture="attn_pattern.*", logits=None)
    assert {layer: _gap(run[f"attn_pattern.{layer}"], theirs[layer], batch) for layer in attended} == dict.fromkeys(
        attended, 0.0
    )


@pytest.mark.parametrize("pad", ["left", "right"])
def test_patterns_under_the_models_own_attention_are_hfs_eager_ones(model, eager, attended, padded, plain, pad):
    batch = padded(pad)
    theirs = _attentions(eager.hf, batch, plain, attended)
    run = model.run(batch, capture="attn_pattern.*", logits=None)
    gaps = {layer: _gap(run[f"attn_pattern.{layer}"], theirs[layer], batch) for layer in attended}
    assert gaps[0] == 0.0 if 0 in gaps else True  # the first layer's input is the same, bit for bit
    assert max(gaps.values()) <= 1e-5


def _unless_refused(attempt):
    """Skips where an edit is refused by name."""
    try:
        return attempt()
    except actkit.EditError as error:
        pytest.skip(str(error))


class Spy:
    """An attention function of the test's own: notes what it is given, and may change the weights."""

    def __init__(self, hf, change=None):
        self.seen, self.change = [], change
        self.base = hf.config._attn_implementation

    def __call__(self, module, query, key, value, attention_mask, **options):
        modeling = sys.modules[inspect.unwrap(type(module).forward).__module__]
        call = modeling.ALL_ATTENTION_FUNCTIONS.get_interface(self.base, modeling.eager_attention_forward)
        self.seen.append((query, key, value))
        out, weights = call(module, query, key, value, attention_mask, **options)
        if self.change is not None:
            weights = self.change(len(self.seen) - 1, weights)
            wide = value.repeat_interleave(weights.shape[1] // value.shape[1], dim=1)
            out = (weights @ wide).transpose(1, 2).contiguous()
        return out, weights

    def forward(self, hf, batch, plain):
        """A plain forward of a copy that goes through this function."""
        AttentionInterface.register("spy", self)
        AttentionMaskInterface.register("spy", ALL_MASK_ATTENTION_FUNCTIONS[self.base])
        copied = copy.deepcopy(hf)
        copied.config._attn_implementation = "spy"
        return plain(copied, batch, use_cache=False).logits


def test_queries_keys_and_values_are_what_hf_hands_to_its_attention(model, attended, either, plain):
    batch = either
    run = model.run(batch, capture=["attn_q.*", "attn_k.*", "attn_v.*"], logits="all")
    spy = Spy(model.hf)
    assert torch.equal(spy.forward(model.hf, batch, plain), run.logits)
    for layer, (q, k, v) in zip(attended, spy.seen, strict=True):
        for kind, expected in (("attn_q", q), ("attn_k", k), ("attn_v", v)):
            assert torch.equal(run[f"{kind}.{layer}"], expected.transpose(1, 2))


def test_an_edited_pattern_is_the_one_attention_mixes_with(eager, attended, either, plain):
    """Nobody looks at token 0 through head 1 of one layer: against weights changed inside Hugging Face's own call."""
    layer = attended[len(attended) // 2]
    batch = either
    starts = batch.attention_mask.argmax(-1).tolist()

    def blind(call, weights):
        if call == attended.index(layer):
            weights = weights.clone()
            for row, start in enumerate(starts):
                weights[row, 1, :, start] = 0.0
        return weights

    edit = actkit.zero(f"attn_pattern.{layer}", actkit.Where(heads=1, units=0))
    ours = _unless_refused(lambda: eager.run(batch, edits=[edit], logits="all").logits)
    theirs = Spy(eager.hf, blind).forward(eager.hf, batch, plain)
    real = batch.attention_mask.bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=1e-5)
    assert float((ours - eager.run(batch, logits="all").logits)[real].abs().max()) > 1e-4


def test_attention_edits_while_decoding_are_those_of_one_forward(exact, case, attended, rows, tiny_error, generating):
    """Patterns are computed in float32 inside Hugging Face, whatever the model's dtype."""
    if case == "doge":
        pytest.skip("its mask is made of cached values, so an edit of values while decoding also changes the mask")
    layer = attended[-1]
    edits = [
        actkit.scale(f"attn_q.{layer}", 1.5, where=actkit.Where(pos=range(4, 14))),
        actkit.scale(f"attn_k.{layer}", -1.0, where=actkit.Where(heads=0, pos=(1, 8))),
        actkit.zero(f"attn_v.{layer}", where=actkit.Where(rows=(0, 2), pos=(2, 7, 12))),
        actkit.scale(f"attn_pattern.{layer}", 0.5, where=actkit.Where(heads=1, pos=range(5, 13), units=(0, 1))),
    ]
    options = {"capture": "resid_post.*", "edits": edits}
    generation = _unless_refused(lambda: exact.generate(exact.encode(rows), max_new_tokens=12, eos=False, **options))
    full = exact.run(generation.batch, **options)
    real = generation.batch.attention_mask.bool()
    worst = max(float((generation.run[site] - full[site])[real].abs().max()) for site in full)
    assert worst <= max(1e-6, 10 * tiny_error)
    plainly = exact.run(generation.batch, capture=f"resid_post.{layer}")
    assert float((full[f"resid_post.{layer}"] - plainly[f"resid_post.{layer}"])[real].abs().max()) > 1e-3
