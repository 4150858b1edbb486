"""What `discover` writes equals a plain re-computation: one Hugging Face forward per item, then NumPy."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from cot_neurons.discover import discover
from cot_neurons.infer import infer
from cot_neurons.options import DiscoverOptions, InferOptions
from specimens import families
from transformers import AutoModelForCausalLM

DOWN = {"llama": "model.layers.{}.mlp.down_proj", "qwen3": "model.layers.{}.mlp.down_proj",
        "gpt2": "transformer.h.{}.mlp.c_proj", "gemma2": "model.layers.{}.mlp.down_proj"}  # fmt: skip
NORM = {"llama": "model.norm", "qwen3": "model.norm", "gpt2": "transformer.ln_f", "gemma2": "model.norm"}


class Plain:
    """A model read without any of our code."""

    def __init__(self, family: str, folder: str) -> None:
        self.hf = AutoModelForCausalLM.from_pretrained(folder)
        self.down = [self.hf.get_submodule(DOWN[family].format(layer)) for layer in range(3)]
        weights = [down.weight.detach().numpy() for down in self.down]
        self.values = [w if family == "gpt2" else w.T for w in weights]  # [neurons, d_model]
        gain = self.hf.get_submodule(NORM[family]).weight.detach().numpy()
        self.gain = 1 + gain if family == "gemma2" else gain
        self.centred = family == "gpt2"
        self.head = self.hf.lm_head.weight.detach().numpy()

    def activations(self, ids: list[int]) -> np.ndarray:
        """[layers, tokens, neurons] of one text."""
        seen: list[np.ndarray] = []
        handles = [d.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].numpy())) for d in self.down]
        with torch.no_grad():
            self.hf(torch.tensor([ids]))
        for handle in handles:
            handle.remove()
        return np.stack(seen)

    def promoted(self, layer: int, neuron: int, sign: int, lens: str) -> np.ndarray:
        v = self.values[layer][neuron].astype(np.float32)
        if lens == "norm":
            v = (v - v.mean() if self.centred else v) * self.gain
        return self.head @ v * sign


def _check_top(kept: pl.DataFrame, score: np.ndarray, k: int) -> None:
    """`kept` holds the k largest of `score`, which may tie to within rounding."""
    kept = kept.sort("rank")
    assert kept["rank"].to_list() == list(range(len(kept)))
    best = np.sort(score)[::-1][:k]
    best = best[best > 0]
    assert len(kept) == len(best)
    np.testing.assert_allclose(np.abs(kept["score"].to_numpy()), best, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(score[kept["neuron"].to_numpy()], best, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "ranking", "lens"),
    [
        ("llama", "signed", "norm"),
        ("llama", "absolute", "raw"),
        ("gpt2", "signed", "norm"),
        ("gemma2", "absolute", "norm"),
        ("qwen3", "absolute", "raw"),
    ],
)
def test_equals_numpy(workplace: Path, problems: Path, family: str, ranking: str, lens: str):
    model, k = str(families.save(family, workplace / family, families.Shape(context=256))), 4
    items = infer(InferOptions(model=model, data=str(problems), max_new_tokens=12, batch_size=3))
    folder = discover(
        DiscoverOptions(
            model=model, items=str(items), ranking=ranking, lens=lens, k=k, max_new_tokens=12,
            batch_size=3, promoted=5,
        )
    )  # fmt: skip
    plain = Plain(family, model)
    asked = {row["row"]: row for row in pl.read_parquet(items / "tables" / "items.parquet").iter_rows(named=True)}
    steps = pl.read_parquet(folder / "tables" / "steps.parquet")
    kept = pl.read_parquet(folder / "tables" / "activations.parquet")
    assert steps["row"].n_unique() == len(asked) == 8

    for (row,), chain in steps.group_by("row", maintain_order=True):
        prompt = asked[row]["prompt_ids"]
        m = plain.activations(prompt + chain["token_id"].to_list())
        for step in chain["step"]:
            for layer in range(3):
                here = kept.filter((pl.col("row") == row) & (pl.col("step") == step) & (pl.col("layer") == layer))
                at = m[layer, len(prompt) - 1 + step]
                score = at * np.linalg.norm(plain.values[layer], axis=1)
                np.testing.assert_allclose(
                    here["activation"].to_numpy(), at[here["neuron"].to_numpy()], rtol=1e-4, atol=1e-5
                )
                if ranking == "absolute":
                    _check_top(here, np.abs(score), k)
                else:
                    _check_top(here.filter(pl.col("score") > 0), score, k)
                    _check_top(here.filter(pl.col("score") < 0), -score, k)

    for row in pl.read_parquet(folder / "tables" / "neurons.parquet").sample(40, seed=1).iter_rows(named=True):
        sign = 1 if row["polarity"] == "+" else -1
        scores = plain.promoted(row["layer"], row["neuron"], sign, lens)
        np.testing.assert_allclose(scores[row["promotes_ids"]], np.sort(scores)[::-1][:5], rtol=1e-4, atol=1e-5)
