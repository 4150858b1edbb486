"""What a trace leaves out, what it leaves behind (nothing), and what it falls back to."""

import copy
import threading

import accelerate
import actkit
import pytest
import torch
from specimens import families

CLEAN, CORRUPT = [5, 6, 7, 8, 9, 10], [5, 6, 50, 8, 9, 10]


def ask(model, **options):
    settings = {"at": "resid_post", "metric": "logit", "target": 3} | options
    return actkit.trace(model, [CLEAN], [CORRUPT], **settings)


@pytest.fixture
def model():
    return actkit.load(families.tiny_model("llama"))


@pytest.fixture
def fed(model):
    """Rows × columns that went through each block's MLP, as counted by the test's own hooks."""
    counts = [[] for _ in model.blocks]
    handles = [
        block.mlp.register_forward_pre_hook(lambda _m, args, i=i: counts[i].append(tuple(args[0].shape[:2])))
        for i, block in enumerate(model.blocks)
    ]
    yield counts
    for handle in handles:
        handle.remove()


def test_blocks_below_columns_before_and_rows_that_cannot_differ_are_left_out(model, fed):
    ask(model, at="resid_post.1", positions=[0, 1, 3])
    # Clean and corrupt run, two trials that resuming works; then one row: only position 3 can differ.
    whole, trial = [(1, 6)] * 2, (1, 4)
    assert fed[0] == whole
    assert fed[1] == [*whole, trial]
    assert fed[2] == [*whole, trial, trial, (1, 3)]


def test_the_last_block_runs_only_for_the_last_token(model, fed):
    grid = ask(model, at="mlp_out.2", positions=[2, 3, 4, -1])
    assert fed[2][-1] == (1, 1)
    assert len(fed[2]) == 5
    assert (grid.values[0, 0, :3] == grid.corrupt).all()


def test_passes_hold_no_more_rows_than_asked_for(model, fed):
    ask(model, batch_size=2)
    assert max(rows for calls in fed for rows, _ in calls) <= 2


def _state(hf):
    hooks = [
        (n, len(m._forward_hooks), len(m._forward_pre_hooks), vars(m).get("forward")) for n, m in hf.named_modules()
    ]
    return hooks, hf.config._attn_implementation, hf.training, torch.is_grad_enabled(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("training", [False, True])
def test_nothing_is_left_behind(model, training):
    model.hf.train(training)
    before = _state(model.hf)
    grid = ask(model, at=["resid_post", "attn_pattern"], keep_top=3)
    assert _state(model.hf) == before

    def fails(logits):
        if len(calls) > 4:
            raise RuntimeError("on purpose")
        calls.append(len(logits))
        return logits[:, 0]

    calls = []
    with pytest.raises(RuntimeError, match="on purpose"):
        actkit.trace(model, [CLEAN], [CORRUPT], at="resid_post", metric=fails, batch_size=1)
    assert _state(model.hf) == before
    assert all(p.grad is None for p in model.hf.parameters())
    assert grid.values.isfinite().any()


def test_other_threads_notice_nothing(model):
    """Plain calls, runs and a second trace of the same model, all while one trace goes on."""
    wanted, ids = ask(model), torch.tensor([CLEAN])
    with torch.no_grad():
        plain = model.hf(ids).logits
    stop, wrong = threading.Event(), []

    def watch():
        with torch.no_grad():
            while not stop.is_set():
                if not torch.equal(model.hf(ids).logits, plain):
                    wrong.append("plain")

    def trace():
        for _ in range(4):
            if not torch.equal(ask(model, batch_size=3).values, narrow.values):
                wrong.append("trace")

    narrow = ask(model, batch_size=3)
    before = _state(model.hf)
    watcher, tracers = threading.Thread(target=watch), [threading.Thread(target=trace) for _ in range(2)]
    for thread in (watcher, *tracers):
        thread.start()
    for thread in tracers:
        thread.join()
    stop.set()
    watcher.join()
    assert not wrong
    assert _state(model.hf) == before
    torch.testing.assert_close(narrow.values, wanted.values, atol=1e-6, rtol=0)


def test_an_offloaded_model_gives_the_same_and_keeps_its_own_forwards(model):
    wanted = ask(model, at=["resid_post", "mlp_out"])
    hf = families.tiny_model("llama")
    accelerate.cpu_offload(hf, execution_device=torch.device("cpu"))
    before = _state(hf)
    grid = ask(actkit.load(hf), at=["resid_post", "mlp_out"])
    torch.testing.assert_close(grid.values, wanted.values, atol=1e-6, rtol=0)
    assert _state(hf) == before


def test_a_users_own_hooks_go_on_acting_once(model):
    """Steering by a hook on one block's input, another's output: every cell is a plain forward with these hooks."""
    push = torch.linspace(-1, 1, 32)
    handles = [
        model.blocks[1].register_forward_pre_hook(lambda _m, args: (args[0] + push, *args[1:])),
        model.blocks[0].register_forward_hook(lambda _m, _a, out: out * 1.5),
    ]
    grid = ask(model, at="mlp_out")
    for layer in range(3):
        held = {}
        module = model.blocks[layer].mlp
        note = module.register_forward_hook(lambda _m, _a, out, held=held: held.update(x=out.clone()))
        with torch.no_grad():
            model.hf(torch.tensor([CLEAN]))
        note.remove()
        for position in range(6):

            def put(_m, _a, out, position=position, held=held):
                out = out.clone()
                out[0, position] = held["x"][0, position]
                return out

            patch = module.register_forward_hook(put)
            with torch.no_grad():
                wanted = float(model.hf(torch.tensor([CORRUPT])).logits[0, -1, 3])
            patch.remove()
            assert float(grid.values[0, layer, position]) == pytest.approx(wanted, abs=1e-5)
    for handle in handles:
        handle.remove()


def test_a_model_that_passes_more_than_the_stream_is_run_whole(model, fed):
    """Block 2 here also reads what block 0 made, as models with shared keys and values do."""
    made = {}
    handles = [
        model.blocks[0].mlp.register_forward_hook(lambda _m, _a, out: made.update(x=out)),
        model.blocks[2].register_forward_hook(lambda _m, _a, out: out + made["x"].mean()),
    ]
    grid = ask(model, at="attn_out.2", positions=[-1])
    held = {}
    attention = model.blocks[2].self_attn
    note = attention.register_forward_hook(lambda _m, _a, out: held.update(x=out[0].clone()))
    with torch.no_grad():
        model.hf(torch.tensor([CLEAN]))
        note.remove()

        def put(_m, _a, out):
            out[0][0, -1] = held["x"][0, -1]

        patch = attention.register_forward_hook(put)
        wanted = float(model.hf(torch.tensor([CORRUPT])).logits[0, -1, 3])
        patch.remove()
    assert float(grid.values) == pytest.approx(wanted, abs=1e-5)
    assert fed[0][-1] == (1, 6)
    for handle in handles:
        handle.remove()


def test_attribution_is_the_measured_effect_to_first_order():
    """Between runs that differ by little they agree, but for second-order terms and norms computed in float32."""
    for family in ("llama", "gpt2", "falcon"):
        model = actkit.load(families.tiny_model(family, dtype=torch.float64))
        model.hf.config._attn_implementation = "sdpa"
        options = {"at": ["resid_post", "mlp_out", "attn_z", "mlp_post"], "metric": "logit", "target": 3}
        positions = {**{str(i): i for i in range(4)}, "span": (1, 2), "own": [(4, 5), (0,)]}
        asked = ([CLEAN, CORRUPT[:4]], actkit.Noised((1, 2), sigma=1e-3, samples=3))
        for into in ("corrupt", "clean"):
            measured = actkit.trace(model, *asked, into=into, positions=positions, **options)
            estimate = actkit.attribution_patch(model, *asked, into=into, positions=positions, **options)
            assert estimate.estimate
            base = (measured.corrupt_rows if into == "corrupt" else measured.clean_rows)[:, None, None, None]
            change = measured.per_row - base
            allowed = 0.02 * float(change.abs().max())
            torch.testing.assert_close(estimate.per_row - base, change, atol=allowed, rtol=0)


def test_attribution_needs_no_trainable_parameter_and_leaves_no_gradient(model):
    wanted = actkit.attribution_patch(model, [CLEAN], [CORRUPT], at="mlp_out", metric="logit", target=3)
    frozen = actkit.load(copy.deepcopy(model.hf).requires_grad_(False))
    found = actkit.attribution_patch(frozen, [CLEAN], [CORRUPT], at="mlp_out", metric="logit", target=3)
    assert torch.equal(found.values, wanted.values)
    assert all(p.grad is None for p in model.hf.parameters())


def test_keep_top_measures_only_the_cells_that_look_strongest(model):
    whole = ask(model, at=["mlp_out", "attn_out"])
    estimate = actkit.attribution_patch(model, [CLEAN], [CORRUPT], at=["mlp_out", "attn_out"], metric="logit", target=3)
    grid = ask(model, at=["mlp_out", "attn_out"], keep_top=4)
    kept = grid.values.isfinite()
    assert int(kept.sum()) == 4
    change = (estimate.values - estimate.corrupt).abs()
    assert float(change[kept].min()) >= float(change[~kept].max())
    torch.testing.assert_close(grid.values[kept], whole.values[kept], atol=1e-6, rtol=0)
