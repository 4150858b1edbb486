"""Edits against hand computation, and edits as plain data."""

import actkit
import numpy as np
import pytest
import torch
from actkit import Where

ROWS = [[5, 6, 7, 8, 9, 10], [20, 21, 22]]


@pytest.fixture
def batch(tiny):
    return tiny.encode(ROWS)


def _site(model, batch, site, *edits):
    return model.run(batch, capture=site, edits=edits, logits=None)[site]


def test_zero_touches_only_the_named_units_rows_and_positions(tiny, batch):
    before = _site(tiny, batch, "mlp_post.1")
    after = _site(tiny, batch, "mlp_post.1", actkit.zero("mlp_post.1", Where(rows=1, pos=(0, -1), units=(3, 40))))
    expected = before.clone()
    expected[1, 3, [3, 40]] = 0  # row 1 is padded by three: its first real token sits in column 3
    expected[1, 5, [3, 40]] = 0
    assert torch.equal(after, expected)


def test_positions_may_be_negative_and_mixed(tiny, batch):
    before = _site(tiny, batch, "resid_post.0")
    after = _site(tiny, batch, "resid_post.0", actkit.zero("resid_post.0", Where(pos=(1, -1))))
    changed = (before != after).any(-1)
    assert changed.tolist() == [[False, True, False, False, False, True], [False, False, False, False, True, True]]


def test_mean_replaces_by_a_vector_of_the_whole_site(tiny, batch):
    values = np.arange(48, dtype=np.float32)
    after = _site(tiny, batch, "mlp_post.0", actkit.mean("mlp_post.0", values, Where(pos=2, units=[7, 1])))
    before = _site(tiny, batch, "mlp_post.0")
    assert after[0, 2, 7] == 7
    assert after[1, 5, 1] == 1
    assert int((after != before).sum()) == 4


def test_set_broadcasts_a_number_or_a_block(tiny, batch):
    number = _site(tiny, batch, "resid_pre.1", actkit.set_("resid_pre.1", 2.5, Where(pos=0)))
    assert (number[0, 0] == 2.5).all()
    assert (number[1, 3] == 2.5).all()
    block = _site(tiny, batch, "mlp_post.2", actkit.set_("mlp_post.2", [1.0, -1.0], Where(units=(4, 5))))
    assert block[0, 1, [4, 5]].tolist() == [1.0, -1.0]


def test_add_is_scaled_and_cut_to_the_units(tiny, batch):
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
    before = _site(tiny, batch, "mlp_out.1")
    after = _site(tiny, batch, "mlp_out.1", actkit.add("mlp_out.1", direction, 3.0, Where(rows=0, units=range(8))))
    expected = before.clone()
    expected[0, :, :8] += 3 * direction[:8]
    assert torch.equal(after, expected)


def test_scale_of_one_head(tiny, batch):
    before = _site(tiny, batch, "attn_z.1")
    after = _site(tiny, batch, "attn_z.1", actkit.scale("attn_z.1", -2.0, Where(pos=-1, heads=2)))
    expected = before.clone()
    expected[:, 5, 2] *= -2
    assert torch.equal(after, expected)


def test_edits_of_one_site_apply_in_the_order_given(tiny, batch):
    edits = [actkit.set_("embed", 1.0), actkit.scale("embed", 4.0), actkit.fn("embed", lambda x: x - 0.5)]
    assert (_site(tiny, batch, "embed", *edits)[batch.attention_mask.bool()] == 3.5).all()


def test_noise_is_seeded_gaussian_and_the_same_whatever_the_padding(tiny):
    wide = tiny.encode([[3] * 60, [4, 5, 6]])
    narrow = tiny.encode([[3] * 60, [4, 5, 6]], pad="right")
    edit = actkit.noise("embed", 0.5, seed=7)
    left = _site(tiny, wide, "embed", edit) - _site(tiny, wide, "embed")
    right = _site(tiny, narrow, "embed", edit) - _site(tiny, narrow, "embed")
    torch.testing.assert_close(left[1, -3:], right[1, :3])
    drawn = left[0]
    assert float(drawn.mean()) == pytest.approx(0, abs=0.05)
    assert float(drawn.std()) == pytest.approx(0.5, abs=0.05)
    other = _site(tiny, wide, "embed", actkit.noise("embed", 0.5, seed=8)) - _site(tiny, wide, "embed")
    assert not torch.allclose(other, left, atol=0.1)
    assert float((drawn[0] - drawn[1]).abs().max()) > 0.1


def test_noise_leaves_the_global_random_state_alone(tiny, batch):
    before = torch.get_rng_state()
    tiny.run(batch, edits=[actkit.noise("embed", 1.0)])
    assert torch.equal(torch.get_rng_state(), before)


def test_swapping_the_whole_stream_makes_the_rest_the_sources(tiny, batch):
    source = tiny.run(tiny.encode([[50, 51, 52, 53, 54, 55], [60, 61, 62]]), capture="resid_post.1")
    patched = tiny.run(batch, edits=[actkit.swap("resid_post.1", source)])
    # Everything below layer 2 is the source's, so the answer is too.
    torch.testing.assert_close(patched.logits, tiny.run(source.batch).logits, atol=0, rtol=0)


def test_swap_takes_from_one_place_to_another(tiny, batch):
    source = tiny.run(batch, capture="mlp_post.0")
    edit = actkit.swap("mlp_post.0", source, Where(rows=1, pos=(0, 1)), Where(rows=0, pos=(4, 5)))
    assert torch.equal(_site(tiny, batch, "mlp_post.0", edit)[1, 3:5], source["mlp_post.0"][0, 4:6])
    one = actkit.swap("mlp_post.0", source, Where(rows=1), Where(rows=0, pos=0))
    assert torch.equal(_site(tiny, batch, "mlp_post.0", one)[1, 3:], source["mlp_post.0"][0, :1].expand(3, -1))


def test_a_glob_edits_every_layer(tiny, batch):
    run = tiny.run(batch, capture="mlp_post.*", edits=[actkit.zero("mlp_post.*", Where(units=0))])
    assert all((run[f"mlp_post.{layer}"][batch.attention_mask.bool()][:, 0] == 0).all() for layer in range(3))


def test_every_row_can_have_an_edit_of_its_own(tiny):
    """A batch of four experiments on one text against four runs of plain edits, forward and while decoding."""
    factors = torch.tensor([1.0, 0.0, -2.0, 8.0])
    ids = [5, 9, 3, 7]

    def scaled(old, rows, positions):
        return torch.where(positions[:, None] >= 2, old * factors[rows, None], old)

    edit = actkit.by_place("mlp_post.1", scaled)
    batch = tiny.encode([[11] * row + ids for row in range(4)])
    together = tiny.run(batch, edits=[edit])
    written = tiny.generate(batch, edits=[edit], max_new_tokens=6, eos=False)
    for row, factor in enumerate(factors.tolist()):
        alone = tiny.encode([batch.ids[row]])
        plain = actkit.scale("mlp_post.1", factor, Where(pos=range(2, 14)))
        prompt = actkit.scale("mlp_post.1", factor, Where(pos=range(2, row + 4)))
        torch.testing.assert_close(together.logits[row], tiny.run(alone, edits=[prompt]).logits[0], atol=1e-5, rtol=0)
        assert written.tokens[row] == tiny.generate(alone, edits=[plain], max_new_tokens=6, eos=False).tokens[0]


def test_logits_can_be_edited_too(tiny, batch):
    edit = actkit.set_("logits", 99.0, Where(pos=-1, units=17))
    run = tiny.run(batch, edits=[edit])
    assert (run.logits[:, 17] == 99).all()
    generation = tiny.generate(batch, max_new_tokens=3, edits=[actkit.set_("logits", 99.0, Where(units=17))])
    assert generation.tokens == [[17, 17, 17]] * 2


def test_gradients_flow_through_captures_and_edits(tiny, batch):
    run = tiny.run(batch, capture="resid_post.0", edits=[actkit.scale("resid_mid.1", 2.0)], grad=True)
    (gradient,) = torch.autograd.grad(run.logits.sum(), run["resid_post.0"])
    assert gradient.shape == (2, 6, 32)
    assert float(gradient.abs().max()) > 0
    assert not tiny.run(batch).logits.requires_grad


def test_edits_are_data_that_prints_hashes_and_compares():
    a = actkit.add("resid_post.*", torch.ones(4), 2.0, Where(pos=[1, 2]))
    b = actkit.add("resid_post.*", torch.ones(4), 2, Where(pos=(1, 2)))
    assert a == b
    assert len({a, b, actkit.add("resid_post.*", torch.zeros(4), 2.0, Where(pos=[1, 2]))}) == 2
    assert repr(a).startswith("Add(at='resid_post.*', where=Where(rows=None, pos=(1, 2), heads=None, units=None)")
    assert repr(a) == repr(b)
    assert "tensor[4]#" in repr(a)
    with pytest.raises(AttributeError):
        a.scale = 3.0
    assert "Where(rows=(0,)" in repr(actkit.zero("embed", Where(rows=np.int64(0))))


def test_an_edits_values_are_its_own(tiny):
    direction = torch.ones(32)
    edit = actkit.add("embed", direction)
    direction.zero_()
    assert edit == actkit.add("embed", torch.ones(32))
