"""accelerate gives every module a `forward` of its own and keeps weights elsewhere; both must survive us."""

import accelerate
import actkit
import pytest
import torch
from specimens import families

ROWS = [[5, 6, 7], [8]]


@pytest.fixture
def offloaded():
    hf = families.tiny_model("llama")
    accelerate.cpu_offload(hf, execution_device=torch.device("cpu"))
    return actkit.load(hf)


def _state(hf):
    return [
        (name, vars(m).get("forward"), m._hf_hook if hasattr(m, "_hf_hook") else None) for name, m in hf.named_modules()
    ]


def test_an_offloaded_model_gives_the_same_values_and_stays_offloaded(offloaded):
    whole = actkit.load(families.tiny_model("llama"))
    before = _state(offloaded.hf)
    edits = [actkit.scale("resid_mid.1", 2.0)]
    ours = offloaded.run(offloaded.encode(ROWS), capture="*", edits=edits)
    theirs = whole.run(whole.encode(ROWS), capture="*", edits=edits)
    assert all(torch.equal(ours[site], theirs[site]) for site in theirs)
    offloaded.run(offloaded.encode(ROWS), capture="mlp_post.0", logits=None)
    assert offloaded.generate(offloaded.encode(ROWS), max_new_tokens=4, eos=False).tokens == (
        whole.generate(whole.encode(ROWS), max_new_tokens=4, eos=False).tokens
    )
    assert _state(offloaded.hf) == before
    assert all(parameter.is_meta for parameter in offloaded.hf.parameters())


def test_reading_an_offloaded_weight_is_refused(offloaded):
    with pytest.raises(actkit.LoadError, match="offloaded"):
        offloaded.value_vectors(0)
