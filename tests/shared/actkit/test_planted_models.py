"""Planted models do what their plants say, checked on plain Hugging Face forwards."""

import actkit
import pytest
import torch
from actkit import Where
from specimens import planted


def _spelled(model, word):
    (token,) = model.tokenizer(word)["input_ids"]
    return token


@pytest.fixture(scope="module")
def text(reciter):
    """Every word of the vocabulary once, and the neurons' activations on it by a plain hook."""
    ids = torch.arange(reciter.dims.vocab)[None]
    seen = {}
    hooks = [
        block.mlp.down_proj.register_forward_pre_hook(lambda _m, args, layer=i: seen.update({layer: args[0][0]}))
        for i, block in enumerate(reciter.hf.model.layers)
    ]
    with torch.no_grad():
        reciter.hf(ids)
    for hook in hooks:
        hook.remove()
    return seen


def test_a_plant_fires_on_exactly_its_tokens_with_its_sign_and_size(reciter, text):
    fired = {(layer, neuron, token) for layer, x in text.items() for token, neuron in x.nonzero().tolist()}
    expected = {(p.layer, p.neuron, _spelled(reciter, w)) for p in planted.PLANTS for w in p.fires_on}
    assert fired == expected
    for plant in planted.PLANTS:
        for word in plant.fires_on:
            value = float(text[plant.layer][_spelled(reciter, word), plant.neuron])
            assert value == pytest.approx(plant.activation, rel=1e-3)


def test_a_plant_promotes_exactly_its_tokens_when_it_fires(reciter):
    for plant in planted.PLANTS:
        pole = "+" if plant.sign > 0 else "-"
        table = actkit.promoted_tokens(reciter, [(plant.layer, plant.neuron)], k=len(plant.promotes), poles=pole)
        assert tuple(table["text"]) == plant.promotes
        vector = plant.sign * reciter.value_vectors(plant.layer)[plant.neuron]
        assert sorted(vector[vector != 0].tolist()) == pytest.approx(sorted(w * plant.sign for w in plant.weights))


def test_it_recites_its_story_deterministically_and_alone_or_in_a_batch(reciter):
    longer = planted.PROMPT.replace("Question: ", "Question: Ann has 2 apples ")
    generation = reciter.generate(reciter.encode([planted.PROMPT, longer]), max_new_tokens=50)
    assert generation.texts == [planted.CHAIN] * 2
    assert reciter.tokenizer.decode(reciter.encode([planted.PROMPT]).ids[0]) == planted.PROMPT


def test_the_chain_visits_every_plant(reciter):
    generation = reciter.generate(reciter.encode([planted.PROMPT]), max_new_tokens=50, capture="mlp_post.*")
    start = len(reciter.encode([planted.PROMPT]).ids[0]) - 1
    active = {
        (layer, neuron)
        for layer in range(reciter.dims.layers)
        for neuron in generation.run[f"mlp_post.{layer}"][0, start:].abs().amax(0).nonzero()[:, 0].tolist()
    }
    assert active == {(plant.layer, plant.neuron) for plant in planted.PLANTS}


def test_a_plant_stronger_than_the_story_decides_and_ablating_it_gives_the_story_back():
    loud = planted.Plant(2, 4, fires_on=(" =",), promotes=(" total", " sum"), size=2 * planted.STORY_VOTE)
    model = actkit.load(planted.planted_model([loud]), tokenizer=planted.tokenizer([loud]))
    batch = model.encode([planted.PROMPT])
    said = model.generate(batch, max_new_tokens=50).texts[0]
    assert said.startswith("2 apples and three more make 2 + 3 = total")
    ablated = model.generate(batch, max_new_tokens=50, edits=[actkit.zero("mlp_post.2", Where(units=4))])
    assert ablated.texts == [planted.CHAIN]


def test_a_background_gives_the_other_neurons_something_to_do():
    quiet = planted.planted_model(background=0.0)
    noisy = planted.planted_model(background=0.05, seed=1)
    model = actkit.load(noisy, tokenizer=planted.tokenizer())
    assert model.generate(model.encode([planted.PROMPT]), max_new_tokens=50).texts == [planted.CHAIN]
    other = model.value_vectors(0)[0]
    assert int((other != 0).sum()) == model.dims.vocab
    assert not quiet.model.layers[0].mlp.down_proj.weight[:, 0].any()
    again = planted.planted_model(background=0.05, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(noisy.parameters(), again.parameters(), strict=True))


def test_contradictory_stories_and_plants_are_refused():
    with pytest.raises(ValueError, match="the chain goes on from 'Ġand' both with"):
        planted.planted_model(chain="you and me and them")
    with pytest.raises(ValueError, match="two plants share a neuron"):
        planted.planted_model([planted.PLANTS[0], planted.PLANTS[0]])


def test_a_saved_one_loads(tmp_path):
    model = actkit.load(planted.save(tmp_path / "planted"), device="cpu")
    assert model.generate(model.encode([planted.PROMPT]), max_new_tokens=50).texts == [planted.CHAIN]
