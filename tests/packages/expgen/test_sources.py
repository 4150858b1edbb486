"""Features of every kind, against plain Hugging Face forwards and NumPy."""

import json
from pathlib import Path
from typing import Any

import actkit
import numpy as np
import pytest
import torch
from actkit import Keep
from expgen.sources.features import Source, open_sources
from runkit.errors import DataError, UsageError
from safetensors.torch import save_file
from specimens import families
from torch import Tensor

ROWS = [[5, 9, 3, 17, 8, 4], [12, 7, 7, 30], [6]]
D_SAE = 11


@pytest.fixture(scope="module")
def llama() -> actkit.Model:
    return actkit.load(families.tiny_model("llama"))


def plain(model: actkit.Model, module: torch.nn.Module, side: str) -> np.ndarray:
    """A module's input or output at every token of `ROWS`, by a plain hook on a plain forward, row by row."""
    found: list[Tensor] = []

    def keep(_module: Any, given: Any, *gave: Any) -> None:
        x = gave[0] if gave else given[0]
        found.append((x[0] if isinstance(x, tuple) else x)[0])

    hook = module.register_forward_hook(keep) if side == "output" else module.register_forward_pre_hook(keep)
    with torch.no_grad():
        for row in ROWS:
            model.hf(torch.tensor([row]))
    hook.remove()
    return torch.cat(found).double().numpy()


def harvested(model: actkit.Model, source: Source, layer: int, place: Path) -> np.ndarray:
    """What a harvest keeps of a source at every token."""
    store = actkit.harvest(model, ROWS, [source.at(layer)], reduce=Keep(), store=place, quiet=True)
    return torch.cat([part["values"] for part in store.shards(f"{source.name}.{layer}")]).double().numpy()


def test_a_site_is_taken_in_all_layers_or_in_those_asked_for(llama: actkit.Model):
    neurons, stream = open_sources(["mlp_post", "resid_post"], llama, [])
    assert (neurons.name, neurons.layers, neurons.at(1)) == ("mlp_post", [0, 1, 2], "mlp_post.1")
    assert stream.at(0) == "resid_post.0"
    assert open_sources(["mlp_post"], llama, [2, 0])[0].layers == [0, 2]


@pytest.mark.parametrize(
    ("name", "layers", "says"),
    [
        ("mlp_pots", [], r"Nearest: mlp_post"),
        ("attn_pattern", [], "take heads"),
        ("embed", [], "belongs to no layer"),
        ("mlp_post", [3], "layers 0 to 2"),
        ("expert_weights", [], "no experts"),
        ("saes:x", [], "did you mean 'sae'"),
        ("sae:nowhere", [], "no such folder"),
        ("directions:nowhere.safetensors", [], "no such file"),
        ("directions:", [], "no such file"),
    ],
)
def test_what_is_not_there_is_named(llama: actkit.Model, name: str, layers: list[int], says: str):
    with pytest.raises(UsageError, match=says):
        open_sources([name], llama, layers)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "bloom", "gemma2", "falcon-grouped"])
def test_a_heads_strength_is_the_norm_of_what_it_alone_writes(family: str, tmp_path: Path):
    model = actkit.load(families.tiny_model(family))
    (source,) = open_sources(["heads"], model, [1])
    projection = model.sites["attn_z.1"].module
    z = torch.tensor(plain(model, projection, "input")).float().unflatten(1, (model.dims.heads, -1))
    expected = []
    with torch.no_grad():
        none = projection(torch.zeros_like(z).flatten(1))
        for head in range(model.dims.heads):
            alone = torch.zeros_like(z)
            alone[:, head] = z[:, head]
            expected.append((projection(alone.flatten(1)) - none).norm(dim=-1))
    found = harvested(model, source, 1, tmp_path / "store")
    np.testing.assert_allclose(found, torch.stack(expected, 1).numpy(), rtol=1e-4, atol=1e-6)


def test_directions_are_dot_products_as_given(llama: actkit.Model, tmp_path: Path):
    given = {"resid_post.1": torch.randn(3, 32), "attn_z.2": torch.randn(32)}
    save_file(given, tmp_path / "mine.v2.safetensors")
    asked = [f"directions:{tmp_path}/mine.v2.safetensors"]
    (source,) = open_sources(asked, llama, [])
    assert (source.name, source.layers) == ("directions-mine_v2", [1, 2])
    block, projection = llama.blocks[1], llama.sites["attn_z.2"].module
    for layer, x, w in (
        (1, plain(llama, block, "output"), given["resid_post.1"]),
        (2, plain(llama, projection, "input"), given["attn_z.2"][None]),
    ):
        found = harvested(llama, source, layer, tmp_path / f"store{layer}")
        np.testing.assert_allclose(found, x @ w.double().numpy().T, rtol=1e-4, atol=1e-5)
    (restricted,) = open_sources(asked, llama, [0, 1])
    assert restricted.layers == [1]
    with pytest.raises(UsageError, match="layers 1, 2, none of --layers 0"):
        open_sources(asked, llama, [0])


def test_other_content_is_another_identity(llama: actkit.Model, tmp_path: Path):
    said = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        save_file({"resid_post.0": torch.randn(2, 32)}, tmp_path / "d.safetensors")
        (source,) = open_sources([f"directions:{tmp_path}/d.safetensors"], llama, [])
        feature = source.at(0)
        assert isinstance(feature, actkit.Feature)
        said.append((json.dumps(source.identity()), json.dumps(feature.identity())))
    assert said[0] == said[1]
    assert all(a != b for a, b in zip(said[1], said[2], strict=True))


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"resid_post.1": torch.zeros(3, 31)}, r"'resid_post.1': expected \[F, 32\] or \[32\], found \[3, 31\]"),
        ({"resid_pst.1": torch.zeros(3, 32)}, "did you mean 'resid_post.1'"),
        ({"resid_post.1": torch.ones(3, 32).long()}, "floating"),
        ({"resid_post.1": torch.zeros(32), "mlp_out.1": torch.zeros(32)}, "2 sites of layer 1"),
        ({}, "no tensor"),
    ],
)
def test_bad_directions_are_named(llama: actkit.Model, tmp_path: Path, tensors: dict[str, Tensor], says: str):
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(DataError, match=says) as caught:
        open_sources([f"directions:{tmp_path}/bad.safetensors"], llama, [])
    assert "bad.safetensors" in str(caught.value)


def test_two_files_of_one_name_are_refused(llama: actkit.Model, tmp_path: Path):
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        save_file({"resid_post.0": torch.zeros(32)}, tmp_path / place / "same.safetensors")
    asked = [f"directions:{tmp_path}/{place}/same.safetensors" for place in ("a", "b")]
    with pytest.raises(UsageError, match="two sources are called directions-same"):
        open_sources(asked, llama, [])
