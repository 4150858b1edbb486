"""Autoencoders in SAELens' layout, against its formulas written out in NumPy over plain Hugging Face activations."""

import json
from pathlib import Path
from typing import Any

import actkit
import numpy as np
import pytest
import torch
from expgen.sources import saes
from expgen.sources.features import open_sources
from runkit.errors import DataError, UsageError
from safetensors.torch import load_file, save_file
from specimens import families

from tests.packages.expgen.test_sources import harvested, plain

D, D_SAE = 32, 11
OLD = {"architecture": "standard", "d_in": D, "d_sae": D_SAE, "dtype": "torch.float32", "activation_fn_str": "relu",
       "apply_b_dec_to_input": True, "normalize_activations": "none", "hook_name": "blocks.1.hook_resid_post",
       "hook_layer": 1, "hook_head_index": None}  # fmt: skip
NEW = {"architecture": "topk", "k": 3, "d_in": D, "d_sae": D_SAE, "dtype": "float32", "apply_b_dec_to_input": False,
       "normalize_activations": "none", "reshape_activations": "none",
       "metadata": {"hook_name": "blocks.1.hook_resid_post", "hook_head_index": None}}  # fmt: skip


@pytest.fixture(scope="module")
def llama() -> actkit.Model:
    return actkit.load(families.tiny_model("llama"))


def written(place: Path, config: dict[str, Any], width: int = D, seed: int = 0) -> dict[str, np.ndarray]:
    """A random autoencoder on disk; its weights."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "cfg.json").write_text(json.dumps(config))
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (width, D_SAE), "W_dec": (D_SAE, width), "b_dec": (width,)}
    shapes |= dict.fromkeys(("b_enc", "b_gate", "r_mag", "b_mag"), (D_SAE,))
    weights = {name: rng.normal(0, 0.5, shape) for name, shape in shapes.items()}
    weights["threshold"] = rng.uniform(0, 1, D_SAE)
    save_file({name: torch.tensor(x).float() for name, x in weights.items()}, place / "sae_weights.safetensors")
    return weights


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def top(x: np.ndarray, k: int) -> np.ndarray:
    kept = np.argsort(-x, axis=1)[:, :k]
    found = np.zeros_like(x)
    np.put_along_axis(found, kept, relu(np.take_along_axis(x, kept, 1)), 1)
    return found


def normed(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(1, keepdims=True)
    return x / (x.std(1, ddof=1, keepdims=True) + 1e-5)


CASES = {
    "old": (OLD, lambda x, w: relu((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"])),
    "gated": (
        OLD | {"architecture": "gated"},
        lambda x, w: ((x - w["b_dec"]) @ w["W_enc"] + w["b_gate"] > 0)
        * relu((x - w["b_dec"]) @ (w["W_enc"] * np.exp(w["r_mag"])) + w["b_mag"]),
    ),
    "jumprelu": (
        OLD | {"architecture": "jumprelu", "apply_b_dec_to_input": False},
        lambda x, w: relu(x @ w["W_enc"] + w["b_enc"]) * (x @ w["W_enc"] + w["b_enc"] > w["threshold"]),
    ),
    "topk": (NEW, lambda x, w: top(x @ w["W_enc"] + w["b_enc"], 3)),
    "topk-old": (
        OLD | {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}},
        lambda x, w: top((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"], 2),
    ),
    "topk-rescaled": (
        NEW | {"rescale_acts_by_decoder_norm": True},
        lambda x, w: top((x @ w["W_enc"] + w["b_enc"]) * np.linalg.norm(w["W_dec"], axis=1), 3),
    ),
    "tanh": (
        OLD | {"activation_fn_str": "tanh-relu"},
        lambda x, w: np.tanh(relu((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"])),
    ),
    "layer_norm": (
        OLD | {"normalize_activations": "layer_norm"},
        lambda x, w: relu((normed(x) - w["b_dec"]) @ w["W_enc"] + w["b_enc"]),
    ),
    "rescaled": (
        OLD | {"normalize_activations": "constant_norm_rescale"},
        lambda x, w: relu(
            (x * D**0.5 / np.linalg.norm(x, axis=1, keepdims=True) - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_latents_are_those_of_saelens(case: str, llama: actkit.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(saes, "_BLOCK", 4 * D_SAE)  # so that the tokens take several blocks
    config, formula = CASES[case]
    weights = written(tmp_path / "mine", config)
    (source,) = open_sources([f"sae:{tmp_path}/mine"], llama, [])
    assert (source.name, source.layers) == ("sae-mine", [1])
    expected = formula(plain(llama, llama.blocks[1], "output"), weights)
    assert 0 < (expected > 0).mean() < 1
    np.testing.assert_allclose(harvested(llama, source, 1, tmp_path / "store"), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("hook", "module", "side"),
    [
        ("hook_resid_pre", "", "input"),
        ("mlp.hook_post", "mlp.down_proj", "input"),
        ("hook_mlp_out", "mlp", "output"),
        ("attn.hook_z", "self_attn.o_proj", "input"),
        ("hook_attn_out", "self_attn.o_proj", "output"),
    ],
)
def test_a_hook_is_the_place_it_names(hook: str, module: str, side: str, llama: actkit.Model, tmp_path: Path):
    x = plain(llama, llama.blocks[2].get_submodule(module), side)
    config = OLD | {"hook_name": f"blocks.2.{hook}", "d_in": x.shape[1]}
    weights = written(tmp_path / "mine", config, x.shape[1])
    (source,) = open_sources([f"sae:{tmp_path}/mine"], llama, [])
    found = harvested(llama, source, 2, tmp_path / "store")
    np.testing.assert_allclose(found, CASES["old"][1](x, weights), rtol=1e-3, atol=1e-4)


def test_a_folder_may_hold_one_per_layer(llama: actkit.Model, tmp_path: Path):
    for layer in (0, 2):
        written(tmp_path / "all" / f"layer_{layer}", OLD | {"hook_name": f"blocks.{layer}.hook_resid_post"}, seed=layer)
    (source,) = open_sources([f"sae:{tmp_path}/all"], llama, [])
    assert (source.name, source.layers) == ("sae-all", [0, 2])
    assert open_sources([f"sae:{tmp_path}/all"], llama, [2])[0].layers == [2]
    written(tmp_path / "all" / "another", OLD | {"hook_name": "blocks.2.hook_resid_pre"})
    with pytest.raises(UsageError, match=r"two autoencoders of layer 2, in .*another and .*layer_2"):
        open_sources([f"sae:{tmp_path}/all"], llama, [])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architecture": "matryoshka_batchtopk"}, "'architecture': expected one of standard, topk, jumprelu, gated"),
        ({"hook_name": "blocks.1.ln2.hook_normalized"}, "'hook_name': expected blocks.L. and one of hook_resid_pre"),
        ({"hook_name": "blocks.7.hook_resid_post"}, "no such site"),
        ({"hook_head_index": 2}, "single head"),
        ({"d_in": 16}, "'d_in': expected 32, the width of resid_post.1, found 16"),
        ({"d_sae": 12}, r"'W_enc': expected \[32, 12\]"),
        ({"normalize_activations": "expected_average_only_in"}, "fold"),
        ({"dtype": "int8"}, "'dtype': expected one of float64"),
        ({"architecture": "topk"}, "'k': expected a whole number"),
        ({"architecture": "topk", "k": 99}, "at most d_sae = 11"),
    ],
)
def test_what_cannot_be_served_is_named(change: dict[str, Any], says: str, llama: actkit.Model, tmp_path: Path):
    written(tmp_path / "mine", OLD | change)
    with pytest.raises(DataError, match=says) as caught:
        open_sources([f"sae:{tmp_path}/mine"], llama, [])
    assert str(tmp_path / "mine") in str(caught.value)


def test_missing_files_and_tensors_are_named(llama: actkit.Model, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no cfg\.json"):
        open_sources([f"sae:{tmp_path}/empty"], llama, [])
    written(tmp_path / "mine", OLD)
    weights = tmp_path / "mine" / "sae_weights.safetensors"
    save_file({name: x for name, x in load_file(weights).items() if name != "b_enc"}, weights)
    with pytest.raises(DataError, match="'b_enc': expected"):
        open_sources([f"sae:{tmp_path}/mine"], llama, [])
    weights.unlink()
    with pytest.raises(DataError, match=r"no sae_weights\.safetensors"):
        open_sources([f"sae:{tmp_path}/mine"], llama, [])
    (tmp_path / "mine" / "cfg.json").write_text("[]")
    with pytest.raises(DataError, match=r"cfg\.json is no configuration"):
        open_sources([f"sae:{tmp_path}/mine"], llama, [])


def test_a_norm_behind_the_mlp_is_not_passed_over(tmp_path: Path):
    written(tmp_path / "mine", OLD | {"hook_name": "blocks.1.hook_mlp_out"})
    with pytest.raises(DataError, match="behind a norm"):
        open_sources([f"sae:{tmp_path}/mine"], actkit.load(families.tiny_model("gemma2")), [])
