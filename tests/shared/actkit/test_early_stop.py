"""A run ends after the last layer asked for, and the LM head runs only where logits are wanted."""

import actkit
import pytest
from specimens import families


@pytest.fixture
def counted(tiny):
    """The model and a list of what ran, noted by hooks of the test's own."""
    ran = []
    named = [(f"block {i}", block) for i, block in enumerate(tiny.blocks)] + [("head", tiny.head)]
    handles = [m.register_forward_pre_hook(lambda _m, _a, name=name: ran.append(name)) for name, m in named]
    yield tiny, ran
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"capture": "embed"}, []),
        ({"capture": "mlp_post.0"}, ["block 0"]),
        ({"capture": ["embed", "resid_post.1"]}, ["block 0", "block 1"]),
        ({"capture": "embed", "edits": [actkit.zero("mlp_out.1")]}, ["block 0", "block 1"]),
        ({"capture": "resid_post.2"}, ["block 0", "block 1", "block 2"]),
        ({"capture": "logits"}, ["block 0", "block 1", "block 2", "head"]),
    ],
)
def test_later_layers_do_not_run(counted, options, expected):
    model, ran = counted
    run = model.run(model.encode([[5, 6, 7]]), logits=None, **options)
    assert ran == expected
    assert run.logits is None


def test_values_are_those_of_a_whole_run(tiny):
    batch = tiny.encode([[5, 6, 7], [8]])
    early = tiny.run(batch, capture="*.1", logits=None)
    whole = tiny.run(batch, capture="*.1")
    assert list(early) == list(whole)
    assert all(early[site].equal(whole[site]) for site in whole)


def test_families_with_tuple_outputs_stop_early_too():
    model = actkit.load(families.tiny_model("falcon"))
    assert list(model.run(model.encode([[5, 6]]), capture="resid_post.0", logits=None)) == ["resid_post.0"]


def test_captures_go_where_they_are_told(tiny):
    import torch

    run = tiny.run(tiny.encode([[5, 6]]), capture="mlp_post.*", to=torch.float16)
    assert {value.dtype for value in run.values()} == {torch.float16}
    assert repr(run).startswith("Run(mlp_post.0: [1, 2, 48], mlp_post.1")
