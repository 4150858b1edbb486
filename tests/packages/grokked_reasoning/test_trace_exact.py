"""Lens and causal tracing against spec section 5 written out by hand: one example, one patch, one block at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from grokked_reasoning import dataset
from grokked_reasoning.tracing import causal, draw, lens
from grokked_reasoning.tracing.examples import Examples
from grokked_reasoning.tracing.layers import opened
from transformers import PreTrainedModel

from tests.packages.grokked_reasoning import circuit_subjects, data_runs, small_world

LIMIT = 12


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("worlds")
    made = data_runs.written(place / "ours", task="comparison", entities=24, relations=3, values=6, phi=6, held_out=0.2)
    return {"composition": small_world.write(place / "original"), "comparison": made}


@pytest.fixture(scope="module", params=["composition", "composition, looped", "comparison"])
def subject(request: pytest.FixtureRequest, worlds: dict[str, Path]) -> tuple[PreTrainedModel, Examples]:
    task, _, looped = request.param.partition(", ")
    model = circuit_subjects.trained(worlds[task], loops=2 if looped else 1, steps=80)
    data = dataset.read(worlds[task])
    return model, draw.examples(data, "train_inferred", LIMIT, seed=0)


@torch.no_grad()
def by_hand(model: PreTrainedModel, examples: Examples, site: str) -> dict[str, list[list[list[int]]]]:
    """Rank of each target per example, patched layer and layer it is read after (-1: not after the patch)."""
    (patch,) = [each for each in examples.patches if each.site == site]
    depth = len(model.transformer.h)
    found: dict[str, list[list[list[int]]]] = {"answer": [], **{name: [] for name in examples.inner}}
    for row, corrupted in zip(patch.rows, patch.prompts, strict=True):
        clean = circuit_subjects.states(model, examples.prompts[row].tolist())
        source = circuit_subjects.states(model, corrupted.tolist())
        for name, kept in found.items():
            kept.append([])
            target, place = int(examples.targets[name][row, 0]), examples.home[name]
            for layer in range(1, depth + 1):
                x = clean[layer].clone()
                for position in patch.positions:
                    x[position] = source[layer][position]
                after = circuit_subjects.resumed(model, x, layer)
                ranks = [
                    circuit_subjects.rank(model, after[at - layer][place], target) for at in range(layer, depth + 1)
                ]
                inner = [-1] * layer + ranks[1:]
                kept[-1].append(ranks[-1:] if name == "answer" else inner)
    return found


@pytest.mark.parametrize("batch_size", [5, 512])
def test_ranks_after_a_patch(subject, batch_size):
    model, examples = subject
    found = causal.traced(opened(model), examples, batch_size=batch_size, targets=True)
    assert {each.site for each in found} == {patch.site for patch in examples.patches}
    for each in found:
        assert each.after.tolist() == by_hand(model, examples, each.site)[each.target]
    changed = [(each.after[:, :-1] != each.before[:, None, :]).any() for each in found if each.target == "answer"]
    assert sum(changed) >= 2  # so that equality says something


def test_strengths_are_shares_of_these_ranks(subject):
    model, examples = subject
    table = causal.strengths(opened(model), examples, targets=True)
    before = [circuit_subjects.states(model, prompt.tolist())[-1][-1] for prompt in examples.prompts]
    right = [
        circuit_subjects.rank(model, x, int(t)) == 0
        for x, t in zip(before, examples.targets["answer"][:, 0], strict=True)
    ]
    for patch in examples.patches:
        ranks = by_hand(model, examples, patch.site)
        own = [right[i] for i in patch.rows]
        for layer in range(1, len(model.transformer.h) + 1):
            (row,) = table.filter(site=patch.site, target="answer", layer=layer).to_dicts()
            lost = [each[layer - 1][0] != 0 for each in ranks["answer"]]
            assert row["strength"] == pytest.approx(np.mean(lost))
            assert (row["n"], row["left_out"]) == (len(patch.rows), len(examples) - len(patch.rows))
            assert row["n_right"] == sum(own) > 0
            assert row["strength_right"] == pytest.approx(np.mean([a for a, b in zip(lost, own, strict=True) if b]))


def test_a_state_before_the_patched_token_cannot_change(subject):
    """Attention looks back only: no row for such a pair, rather than one of zeros."""
    model, examples = subject
    table = causal.strengths(opened(model), examples, targets=True)
    for patch in examples.patches:
        told = set(table.filter(site=patch.site)["target"])
        assert told == {"answer", *(t for t in examples.inner if examples.home[t] >= min(patch.positions))}


@torch.no_grad()
def test_patches_equal_hooks_on_plain_hugging_face(subject):
    model, examples = subject
    found = {each.site: each for each in causal.traced(opened(model), examples) if each.target == "answer"}
    depth = len(model.transformer.h)
    for patch in examples.patches:
        for i in range(0, len(patch.rows), 4):
            prompt = torch.as_tensor(examples.prompts[patch.rows[i] : patch.rows[i] + 1])
            source = model(torch.as_tensor(patch.prompts[i : i + 1]), output_hidden_states=True).hidden_states
            for layer in range(1, depth):

                def put(_module, _args, out, layer=layer, source=source, patch=patch):
                    out = out.clone()
                    out[:, list(patch.positions)] = source[layer][:, list(patch.positions)]
                    return out

                handle = model.transformer.h[layer - 1].register_forward_hook(put)
                logits = model(prompt).logits[0, -1]
                handle.remove()
                target = int(examples.targets["answer"][patch.rows[i], 0])
                assert found[patch.site].after[i, layer - 1, 0] == int((logits > logits[target]).sum())


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [5, 512])
def test_lens(subject, batch_size):
    model, examples = subject
    table = lens.readings(opened(model), examples, batch_size)
    streams = [circuit_subjects.states(model, prompt.tolist()) for prompt in examples.prompts]
    assert len(table) == len(streams[0]) * len(examples.tokens) * len(examples.targets)
    for row in table.to_dicts():
        ranks = [
            [circuit_subjects.rank(model, stream[row["layer"]][row["position"]], int(t)) for t in targets]
            for stream, targets in zip(streams, examples.targets[row["target"]], strict=True)
        ]
        assert row["mrr"] == pytest.approx(np.mean([[1 / (1 + r) for r in each] for each in ranks]), abs=1e-12)
        assert row["top3"] == pytest.approx(np.mean([[r < 3 for r in each] for each in ranks]), abs=1e-12)
