"""One tiny model per family: quick, small, always the same, and with every parameter in use."""

import pytest
import torch
from actkit.families import FAMILIES
from specimens import families
from specimens.tiny_rows import ROWS


def test_every_architecture_of_the_table_has_a_tiny_model():
    assert {row.model_type for row in ROWS.values()} == {family.model_type for family in FAMILIES}
    assert len(families.NAMES) >= 60
    assert not set(families.NAMES) & set(families.VARIANTS)


@pytest.mark.parametrize("name", [*families.NAMES, *families.VARIANTS])
def test_a_tiny_model_is_tiny_finite_and_always_the_same(name):
    state = torch.get_rng_state()
    model, again = families.tiny_model(name), families.tiny_model(name)
    assert torch.equal(torch.get_rng_state(), state)
    assert sum(p.numel() for p in model.parameters()) < 250_000
    ids = torch.arange(5, 17)[None]
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
        assert torch.equal(logits, again(input_ids=ids, use_cache=False).logits)
    assert logits.shape == (1, 12, 320)
    assert logits.std() > 0.05
    assert logits.abs().max() < 50


@pytest.mark.parametrize("name", ["llama", "gpt2", "lfm2", "mixtral"])
def test_sizes_can_be_chosen(name):
    shape = families.Shape(layers=4, d_model=64, d_mlp=96, heads=8, kv_heads=4, vocab=100)
    config = families.tiny_model(name, shape).config
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.vocab_size) == (
        4,
        64,
        8,
        100,
    )


def test_an_unknown_family_names_the_known_ones():
    with pytest.raises(KeyError, match=r"no tiny model of 'lama'.*llama"):
        families.tiny_model("lama")
