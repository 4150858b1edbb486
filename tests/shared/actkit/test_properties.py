"""What holds whatever is asked: random sites, places, padding, edits, nesting and failures, on five kinds of wiring."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import actkit
import pytest
import torch
from actkit import Where
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from specimens import families

FAMILIES = ["llama", "gpt2", "gemma2", "gpt_neox", "mixtral"]
quick = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@cache
def _model(name, dtype=torch.float32):
    fields = {"attn_logit_softcapping": None} if dtype == torch.float64 and name == "gemma2" else {}
    hf = families.tiny_model(name, dtype=dtype, **fields)
    if dtype == torch.float64:
        hf.config._attn_implementation = "sdpa"
        if name == "mixtral":
            hf.set_experts_implementation("eager")
    return actkit.load(hf)


ids = st.lists(st.integers(3, 319), min_size=1, max_size=9)
prompts = st.lists(ids, min_size=1, max_size=4)
pads = st.sampled_from(["left", "right"])
names = st.sampled_from(FAMILIES)


@st.composite
def asked(draw, dtype=torch.float32, inside=True):
    """A model, a padded batch of random rows, and one of the model's sites."""
    model = _model(draw(names), dtype)
    batch = model.encode(draw(prompts), pad=draw(pads))
    sites = [name for name in model.sites if inside or not name.startswith(("attn_pattern", "expert_weights"))]
    return model, batch, draw(st.sampled_from(sites))


@st.composite
def places(draw, batch):
    """Rows and positions of which at least one is in the batch."""
    row = draw(st.integers(0, len(batch) - 1))
    length = int(batch.lengths[row])
    pos = draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=3))
    rows = draw(st.sampled_from([None, row]))
    return Where(rows=rows, pos=draw(st.sampled_from([None, tuple(pos), pos[0], -1])))


def _hit(batch, where):
    """The touched slots [B, T], worked out row by row in plain Python."""
    hit = torch.zeros(batch.input_ids.shape, dtype=torch.bool)
    rows = range(len(batch)) if where.rows is None else [where.rows]
    for row in rows:
        slots = batch.attention_mask[row].nonzero()[:, 0].tolist()
        wanted = range(len(slots)) if where.pos is None else [where.pos] if isinstance(where.pos, int) else where.pos
        for pos in wanted:
            if -len(slots) <= pos < len(slots):
                hit[row, slots[pos]] = True
    return hit


def _plain(model, batch):
    with torch.no_grad():
        return model.hf(
            batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids, use_cache=False
        ).logits


def _hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf.modules())


@quick
@given(st.data())
def test_writing_back_what_was_there_changes_no_bit(data):
    model, batch, site = data.draw(asked())
    where = data.draw(places(batch))
    edit = data.draw(st.sampled_from([actkit.fn(site, lambda x: x, where), actkit.scale(site, 1.0, where)]))
    assert torch.equal(model.run(batch, edits=[edit], logits="all").logits, _plain(model, batch))


@quick
@given(st.data())
def test_an_edit_touches_the_places_it_names_and_no_other(data):
    model, batch, site = data.draw(asked())
    where = data.draw(places(batch))
    before = model.run(batch, capture=site)[site]
    after = model.run(batch, capture=site, edits=[actkit.set_(site, 3.25, where)])[site]
    hit = _hit(batch, where)
    assert (after[hit] == 3.25).all()
    others = batch.attention_mask.bool() & ~hit
    assert torch.equal(after[others], before[others])


@quick
@given(st.data())
def test_a_row_of_a_batch_is_that_row_alone(data):
    model, batch, site = data.draw(asked(torch.float64, inside=False))
    row = data.draw(st.integers(0, len(batch) - 1))
    together = model.run(batch, capture=site)[site][row][batch.attention_mask[row].bool()]
    alone = model.run(model.encode([batch.ids[row]]), capture=site)[site][0]
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-12)


@quick
@given(st.data())
def test_nothing_before_an_edited_position_changes(data):
    model, batch, site = data.draw(asked(inside=False))
    assume(site != "logits")
    pos = data.draw(st.integers(0, int(batch.lengths.max()) - 1))
    before, after = (
        model.run(batch, capture="resid_post.*", edits=edits, logits="all")
        for edits in ([], [actkit.set_(site, -2.0, Where(pos=pos))])
    )
    earlier = (batch.positions >= 0) & (batch.positions < pos)
    # Experts' kernels take tokens together by expert, so even their rounding depends on what other tokens do.
    rounding = 1e-5 if model.family.experts else 0.0
    for name in before:
        torch.testing.assert_close(before[name][earlier], after[name][earlier], atol=rounding, rtol=rounding)
    torch.testing.assert_close(before.logits[earlier], after.logits[earlier], atol=1e-6, rtol=1e-6)


@quick
@given(st.data())
def test_edits_of_single_rows_are_one_edit_of_all(data):
    model, batch, site = data.draw(asked())
    once = model.run(batch, edits=[actkit.scale(site, -0.5)], logits="all").logits
    each = [actkit.scale(site, -0.5, Where(rows=row)) for row in range(len(batch))]
    assert torch.equal(model.run(batch, edits=each, logits="all").logits, once)


@quick
@given(st.data())
def test_what_is_captured_does_not_depend_on_what_else_is(data):
    model, batch, site = data.draw(asked())
    alone = model.run(batch, capture=site, logits=None if site != "logits" else "last")[site]
    assert torch.equal(model.run(batch, capture="*")[site], alone)


@quick
@given(st.data())
def test_values_of_another_run_arrive_as_they_were(data):
    model, batch, site = data.draw(asked())
    shuffled = model.encode([row[::-1] for row in batch.ids], pad=data.draw(pads))
    source = model.run(shuffled, capture=site)
    after = model.run(batch, capture=site, edits=[actkit.swap(site, source)])[site]
    for row in range(len(batch)):
        ours, theirs = (b.attention_mask[row].bool() for b in (batch, shuffled))
        assert torch.equal(after[row][ours], source[site][row][theirs])


@quick
@given(st.data())
def test_a_run_inside_a_run_disturbs_neither(data):
    model, batch, site = data.draw(asked())
    other = model.encode(data.draw(prompts), pad=data.draw(pads))
    inner_site = data.draw(st.sampled_from([name for name in model.sites if name != "logits"]))
    inner = []

    def nested(x):
        inner.append(model.run(other, capture="*", edits=[actkit.zero(inner_site)], logits="all"))
        return x

    outer = model.run(batch, capture="*", edits=[actkit.fn(site, nested)], logits="all")
    alone = model.run(other, capture="*", edits=[actkit.zero(inner_site)], logits="all")
    assert torch.equal(outer.logits, _plain(model, batch))
    assert torch.equal(inner[0].logits, alone.logits)
    assert all(torch.equal(inner[0][name], alone[name]) for name in alone)
    assert _hooks(model) == 0


@quick
@given(st.data())
def test_a_failure_anywhere_leaves_nothing_behind(data):
    model, batch, site = data.draw(asked())
    kind = model.hf.config._attn_implementation

    def fail(_x):
        raise KeyError(site)

    for attempt in (
        lambda: model.run(batch, capture="*", edits=[actkit.fn(site, fail)]),
        lambda: model.generate(batch, capture="*", edits=[actkit.fn(site, fail)], max_new_tokens=2),
    ):
        with pytest.raises(KeyError):
            attempt()
    assert _hooks(model) == 0
    assert model.hf.config._attn_implementation == kind
    assert torch.equal(model.run(batch, capture="*", logits="all").logits, _plain(model, batch))


@quick
@given(st.data())
def test_decoding_with_edits_is_one_forward_with_them(data):
    model, batch, site = data.draw(asked(torch.float64, inside=False))
    assume(site != "logits")
    longest = int(batch.lengths.max())
    positions = st.sets(st.integers(0, longest + 4), min_size=1, max_size=4)
    where = Where(pos=tuple(data.draw(positions)))
    edit = data.draw(st.sampled_from([actkit.scale(site, 0.3, where), actkit.noise(site, 0.2, 7, where)]))
    generation = model.generate(batch, capture="resid_*", edits=[edit], max_new_tokens=5, eos=False)
    full = model.run(generation.batch, capture="resid_*", edits=[edit])
    real = generation.batch.attention_mask.bool()
    for name in full:
        torch.testing.assert_close(generation.run[name][real], full[name][real], atol=1e-11, rtol=1e-11)


@quick
@given(st.data())
def test_the_same_edit_prints_hashes_and_acts_the_same(data):
    model, batch, site = data.draw(asked())
    where = data.draw(places(batch))
    make = data.draw(
        st.sampled_from([lambda: actkit.noise(site, 0.5, 3, where), lambda: actkit.set_(site, [0.25], where)])
    )
    one, two = make(), make()
    assert (one, hash(one), repr(one)) == (two, hash(two), repr(two))
    runs = [model.run(batch, edits=[edit], logits="all").logits for edit in (one, two)]
    assert torch.equal(*runs)


def test_threads_that_share_a_model_see_their_own_runs_alone():
    """Eight threads capture and edit at once, some through patterns, some failing on purpose."""
    model = _model("llama")
    batches = [model.encode([[5 + i, 6, 7, 8, 9 + i], [20, 21 + i]]) for i in range(8)]
    edits = [actkit.scale(site, 0.1 * i) for i, site in enumerate(list(model.sites)[:-1:6][:8])]
    expected = [model.run(b, capture="*", edits=[e]) for b, e in zip(batches, edits, strict=False)]

    def work(i):
        for turn in range(6):
            if (i + turn) % 4 == 0:
                with pytest.raises(ZeroDivisionError):
                    model.run(batches[i], capture="*", edits=[actkit.fn("mlp_out.1", lambda _x: 1 / 0)])
            run = model.run(batches[i], capture="*", edits=[edits[i]])
            assert torch.equal(run.logits, expected[i].logits)
            assert all(torch.equal(run[name], expected[i][name]) for name in run)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(len(expected))))
    assert _hooks(model) == 0
    assert model.hf.config._attn_implementation == "sdpa"


def test_a_model_in_training_stays_so_when_several_threads_end_at_different_times():
    model = actkit.load(families.tiny_model("llama"))
    model.hf.train()
    batch = model.encode([[5, 6, 7]])
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: model.run(batch).logits, range(40)))
    assert all(torch.equal(run, runs[0]) for run in runs)
    assert all(module.training for module in model.hf.modules())


def test_two_models_at_once_do_not_meet():
    one, two = _model("llama"), _model("gemma2")
    batch = one.encode([[5, 6, 7, 8]])
    seen = []

    def other(x):
        seen.append(two.run(batch, capture="*"))
        return x

    outer = one.run(batch, capture="*", edits=[actkit.fn("attn_pattern.1", other)])
    apart = two.run(batch, capture="*")
    assert torch.equal(outer.logits, _plain(one, batch)[:, -1])
    assert all(torch.equal(seen[0][name], apart[name]) for name in apart)
