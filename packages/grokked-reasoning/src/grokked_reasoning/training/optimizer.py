"""The optimizers with the paper's parameter groups, and the learning rate over steps."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from grokked_reasoning.options import TrainOptions


def make(model: nn.Module, options: TrainOptions, device: torch.device) -> list[Optimizer]:
    """AdamW, or Muon for the blocks' matrices and AdamW for the rest.

    Weights decay, embeddings too; biases and norms do not (the groups of the original code). Muon's update is scaled
    to the size of AdamW's (`match_rms_adamw`), so that one learning rate serves both.
    """
    named = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
    matrices = [each for name, each in named if options.optimizer == "muon" and ".h." in name and each.ndim == 2]
    taken = {id(each) for each in matrices}
    rest = [(name, each) for name, each in named if id(each) not in taken]
    rate, decay = options.recipe().learning_rate, options.weight_decay
    groups = [
        {"params": [each for name, each in rest if not _spared(name)], "weight_decay": decay},
        {"params": [each for name, each in rest if _spared(name)], "weight_decay": 0.0},
    ]
    # On CUDA the rate is a tensor, so that a captured graph reads its current value.
    at: Any = torch.tensor(rate, device=device) if device.type == "cuda" else rate
    adamw = torch.optim.AdamW(groups, lr=at, betas=(0.9, 0.999), eps=1e-8, fused=device.type in ("cpu", "cuda"))
    if not matrices:
        return [adamw]
    return [adamw, torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")]


def _spared(name: str) -> bool:
    return "bias" in name or "ln" in name


def rate(options: TrainOptions, step: int) -> float:
    """The learning rate of a step (counted from 0): linear warm-up, then constant, or linear or cosine down to 0."""
    recipe = options.recipe()
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.max_steps - recipe.warmup)
    share = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
    return recipe.learning_rate * share[options.schedule]


def set_rate(optimizers: list[Optimizer], value: float) -> None:
    """Give every group this learning rate."""
    for group in (group for each in optimizers for group in each.param_groups):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


def state(optimizers: list[Optimizer]) -> dict[str, Tensor]:
    """All tensors of the optimizers' state, by name."""
    found: dict[str, Tensor] = {}
    for i, each in enumerate(optimizers):
        for number, values in each.state_dict()["state"].items():
            found |= {f"{i}.{number}.{key}": torch.as_tensor(value) for key, value in values.items()}
    return found


def restore(optimizers: list[Optimizer], tensors: dict[str, Tensor]) -> None:
    """Go on from what `state` gave."""
    for i, each in enumerate(optimizers):
        found: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            place, number, key = name.split(".", 2)
            if int(place) == i:
                found.setdefault(int(number), {})[key] = value
        each.load_state_dict({**each.state_dict(), "state": found})
