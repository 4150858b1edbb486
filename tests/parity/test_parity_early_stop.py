"""Promise 7: nothing runs that nobody asked for."""

import pytest
import torch

pytestmark = pytest.mark.promise("early stop")


@pytest.fixture
def ran(model):
    """Names of the blocks and the head that ran, noted by hooks of the test's own."""
    names = []
    parts = [*((f"block {i}", block) for i, block in enumerate(model.blocks)), ("head", model.head)]
    handles = [part.register_forward_pre_hook(lambda _m, _a, name=name: names.append(name)) for name, part in parts]
    yield names
    for handle in handles:
        handle.remove()


def test_no_block_after_the_last_one_needed_runs(model, rows, ran):
    batch = model.encode(rows, pad="right")
    whole = model.run(batch, capture="*")
    assert ran == [*(f"block {i}" for i in range(model.dims.layers)), "head"]
    for layer in range(-1, model.dims.layers):
        ran.clear()
        wanted = "embed" if layer < 0 else [name for name in model.sites if name.endswith(f".{layer}")]
        early = model.run(batch, capture=wanted, logits=None)
        assert ran == [f"block {i}" for i in range(layer + 1)]
        assert early.logits is None
        assert all(torch.equal(early[site], whole[site]) for site in early)
