"""Tiny models trained in a few lines of plain PyTorch, saved as checkpoints, and causal tracing written out by hand."""

import json
from pathlib import Path

import numpy as np
import torch
from grokked_reasoning import dataset, modeling
from torch.nn import functional
from transformers import PreTrainedModel


def trained(
    folder: Path, *, loops: int = 1, supervise: dataset.Supervise = "target", steps: int = 150
) -> PreTrainedModel:
    """A model that fits the training rows of a data folder, or comes near it."""
    data = dataset.read(folder, supervise)
    torch.manual_seed(0)
    layers = 3 if loops == 1 else 2
    model = modeling.build(
        len(data.vocabulary), layers=layers, width=32, heads=2, positions=data.positions, loops=loops, dropout=0.0
    )
    ids = torch.as_tensor(data.train.ids.astype(np.int64))
    start, length = (torch.as_tensor(each.astype(np.int64)) for each in (data.train.start, data.train.length))
    place = torch.arange(ids.shape[1])
    asked = (place >= start[:, None]) & (place < (start + length)[:, None])
    labels = torch.where(asked, ids, -100)[:, 1:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        some = torch.randint(0, len(ids), (256,))
        logits = model(ids[some, :-1]).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), labels[some].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def saved(model: PreTrainedModel, place: Path, step: int, data: Path) -> Path:
    """A folder checkpoint-STEP as the stage `train` writes it, without seal and state."""
    folder = place / f"checkpoint-{step}"
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text((data / "vocab.json").read_text())
    return place


def states(model: PreTrainedModel, prompt: list[int]) -> list[torch.Tensor]:
    """S[0] to S[L] of one prompt, [T, D] each, by a loop over the blocks."""
    body = model.transformer
    x = body.wte.weight[prompt] + body.wpe.weight[: len(prompt)]
    found = [x]
    for block in body.h:
        out = block(found[-1][None])
        found.append((out[0] if isinstance(out, tuple) else out)[0])
    return found


def resumed(model: PreTrainedModel, x: torch.Tensor, layer: int) -> list[torch.Tensor]:
    """S[layer] to S[L], starting from S[layer] = x."""
    found = [x]
    for block in model.transformer.h[layer:]:
        out = block(found[-1][None])
        found.append((out[0] if isinstance(out, tuple) else out)[0])
    return found


def rank(model: PreTrainedModel, x: torch.Tensor, target: int) -> int:
    """Of a token in the logit lens of one state."""
    logits = model.transformer.ln_f(x) @ model.transformer.wte.weight.T
    return int((logits > logits[target]).sum())


def facts_of(folder: Path) -> dict[tuple[str, str], str]:
    """Atomic facts of train.json, by head and relation."""
    rows = json.loads((folder / "train.json").read_text())
    told = [row["target_text"].replace("><", "> <").split() for row in rows]
    return {(each[0], each[1]): each[2] for each in told if len(each) == 4}
