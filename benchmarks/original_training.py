"""How the original code of Wang et al. (2024) trains, written anew from its description: the peer of `train`.

GPT-2's 50,257 tokens with the world's symbols behind them, padded to a multiple of 8; a dict of two int64 tensors per
row, of 10 positions each, filled up with GPT-2's end of text; PyTorch's own collation; logits at all positions over the
whole vocabulary; per step three `.item()` and a line of text for the progress bar. Its GPT-2 is Hugging Face's with
attention and GELU in plain operations, as it was then. On a CPU it has no fp16.
"""

from collections.abc import Iterator
from typing import Any

import torch
from grokked_reasoning.dataset import Rows
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel, get_constant_schedule_with_warmup

BASE, END_OF_TEXT, POSITIONS, IGNORED = 50_257, 50_256, 10, -100


def model(symbols: int, *, layers: int, width: int, heads: int, dropout: float) -> GPT2LMHeadModel:
    """An untrained GPT-2 with its full vocabulary and the symbols."""
    shape: dict[str, Any] = {"n_layer": layers, "n_embd": width, "n_head": heads, "attn_implementation": "eager"}
    drops: dict[str, Any] = {"attn_pdrop": dropout, "embd_pdrop": dropout, "resid_pdrop": dropout}
    config = GPT2Config(vocab_size=-(-(BASE + symbols) // 8) * 8, **shape, **drops)
    return GPT2LMHeadModel(config)


def items(rows: Rows) -> list[dict[str, Tensor]]:
    """Every row as the original keeps it; labels are -100 but for what follows the prompt."""
    return [_item(ids, start, length) for ids, start, length in zip(rows.ids, rows.start, rows.length, strict=True)]


def _item(ids: Any, start: int, length: int) -> dict[str, Tensor]:
    whole = torch.full((POSITIONS,), END_OF_TEXT)
    labels = torch.full((POSITIONS,), IGNORED)
    whole[: start + length] = torch.from_numpy(ids[: start + length]).long() + BASE
    labels[start : start + length] = whole[start : start + length]
    return {"input_ids": whole, "labels": labels}


def steps(
    lm: GPT2LMHeadModel, rows: Rows, *, batch_size: int, rate: float, decay: float, warmup: int
) -> Iterator[float]:
    """Train without end; the loss of every step, once it is made."""
    dataset: Any = items(rows)
    loader = DataLoader(dataset, batch_size=batch_size, sampler=RandomSampler(dataset))
    named = list(lm.named_parameters())
    spared = [p for n, p in named if "bias" in n or "ln" in n]
    others = [p for n, p in named if not ("bias" in n or "ln" in n)]
    groups = [{"params": others, "weight_decay": decay}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, eps=1e-8)
    schedule = get_constant_schedule_with_warmup(optimizer, warmup)
    total, epoch = 0.0, 0
    lm.train()
    while True:
        epoch += 1
        for batch in (bar := tqdm(loader, desc=f"Running epoch {epoch}", mininterval=0)):
            inputs = {name: each.to(lm.device) for name, each in batch.items()}
            loss = lm(**inputs).loss
            current = loss.item()
            bar.set_description(f"Epoch {epoch}. Running loss: {current:9.4f}")
            loss.backward()
            total += loss.item()
            nn.utils.clip_grad_norm_(lm.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            lm.zero_grad()
            yield loss.item()
