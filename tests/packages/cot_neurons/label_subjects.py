"""Planted models whose neurons' concepts are known, and tables of their neurons made with NumPy alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from specimens import planted
from specimens.planted import Plant
from transformers import AutoModelForCausalLM, AutoTokenizer

K = 20
PLANTED = {
    "add": Plant(0, 3, (" 2",), (" +", " plus", " sum"), size=3.0),
    "subtract": Plant(1, 5, (" and",), (" minus", " subtract", " -"), sign=-1),
    "multiply": Plant(1, 9, (" make",), (" times", " product", " multiply"), sign=-1),
    "division": Plant(2, 0, (" is",), (" divide", " division", " div")),
    "equals_to": Plant(2, 7, (" 3",), (" =", " equals", " total")),
    "formula": Plant(3, 2, (" three",), (" formula", " equation", " expression")),
    "connections": Plant(3, 11, (" more",), (" so", " then", " hence"), sign=-1),
}
"""The neuron that stands for each concept; " +" is written after " 2", " =" after " 3", as the story has it anyway."""
OTHERS = (
    Plant(0, 8, (" apples",), (" pears", " trees", " fruits")),
    Plant(3, 14, (" answer",), (" red", " blue", " green"), sign=-1),
)
"""Neurons that promote no concept, and the words that a vocabulary has besides."""
WORDS = Plant(3, 15, ("2",), tuple(f" word{i}" for i in range(60)), size=0.0)
PLANTS = (*PLANTED.values(), *OTHERS, replace(WORDS, promotes=WORDS.promotes[:1]))


def save(folder: Path, *, background: float = 0.0, seed: int = 0) -> Path:
    """Write the model and its tokenizer, whose vocabulary has sixty words more than the plants need."""
    everything = (*PLANTED.values(), *OTHERS, WORDS)
    tokenizer = planted.tokenizer(everything)
    model = planted.planted_model(everything, background=background, seed=seed)
    with torch.no_grad():  # WORDS only stands there for its words
        model.model.layers[WORDS.layer].mlp.down_proj.weight[:, WORDS.neuron] = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def true_labels() -> set[tuple[int, int, str, str]]:
    """Layer, neuron, polarity and concept of every label there is to give."""
    return {(p.layer, p.neuron, "+" if p.sign > 0 else "-", concept) for concept, p in PLANTED.items()}


def neurons(folder: Path, table: Path, *, k: int = K, name: str | None = None) -> Path:
    """Write a table of both signs of all neurons of a Llama, what they promote computed from its weights by NumPy."""
    hf = AutoModelForCausalLM.from_pretrained(folder)
    vocab = AutoTokenizer.from_pretrained(folder).convert_ids_to_tokens(list(range(hf.config.vocab_size)))
    head, gain = hf.lm_head.weight.detach().numpy(), hf.model.norm.weight.detach().numpy()
    rows = []
    for layer, block in enumerate(hf.model.layers):
        for neuron, vector in enumerate(block.mlp.down_proj.weight.detach().numpy().T):
            scores = head @ (gain * vector)
            z = (scores - scores.mean()) / (scores.std() or 1.0)
            for polarity, sign in (("+", 1), ("-", -1)):
                ids = np.argsort(-sign * z, kind="stable")[:k]
                rows.append(_row(name or folder.name, layer, neuron, polarity, ids.tolist(), z[ids].tolist(), vocab))
    table.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(rows, schema_overrides={"promotes_scores": pl.List(pl.Float32), "max_score": pl.Float32})
    frame.write_parquet(table)
    return table


def _row(model: str, layer: int, neuron: int, polarity: str, ids: list[int], z: list[float], vocab: list[str]) -> dict:
    return {
        "model": model, "layer": layer, "neuron": neuron, "polarity": polarity,
        "hits": 1, "hit_rate": 0.5, "mean_score": 1.0, "max_score": 1.0, "focus": "text", "contrast": 0.0,
        "promotes_ids": ids, "promotes": [vocab[i] for i in ids], "promotes_scores": z, "suppresses": [""],
    }  # fmt: skip


def items(folder: Path, table: Path, count: int = 6) -> Path:
    """Write a table of items as `infer` would: each question answered with the planted story."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chain = tokenizer(planted.CHAIN)["input_ids"]
    rows = [
        {
            "model": folder.name, "variant": "none", "row": row, "id": f"q{row}", "question": "How many?", "gold": "5",
            "solution": None, "prompt_ids": tokenizer(planted.PROMPT)["input_ids"], "new_ids": chain,
            "text": planted.CHAIN, "new_tokens": len(chain), "finish": "eos", "strict": "5", "flexible": "5",
            "correct_strict": True, "correct_flexible": True, "no_answer": False, "equations": 1, "equations_true": 1,
        }
        for row in range(count)
    ]  # fmt: skip
    table.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema_overrides={"solution": pl.String}).write_parquet(table)
    return table
