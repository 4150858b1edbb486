"""Data of mixed lengths, and what Hugging Face itself computes for them: row by row, no padding, nothing of ours."""

import random
from pathlib import Path

import actkit
import numpy as np
import pytest
import torch
from specimens import families


@pytest.fixture(scope="session")
def rows() -> list[list[int]]:
    rng = random.Random(3)
    return [[rng.randrange(3, 300) for _ in range(rng.randint(1, 40))] for _ in range(50)]


@pytest.fixture(scope="session")
def llama() -> actkit.Model:
    return actkit.load(families.tiny_model("llama"), tokenizer=families.tiny_tokenizer())


@pytest.fixture(scope="session")
def places(rows) -> np.ndarray:
    """Row and position of every token, in order."""
    return np.array([(row, position) for row, ids in enumerate(rows) for position in range(len(ids))])


@pytest.fixture(scope="session")
def plain(llama, rows) -> dict[str, np.ndarray]:
    """Site -> [tokens, units] from plain forwards with hooks of our own on Hugging Face's modules."""
    found: dict[str, list[torch.Tensor]] = {}
    handles = []
    for layer, block in enumerate(llama.hf.model.layers):
        for kind, module in (("mlp_post", block.mlp.down_proj), ("attn_z", block.self_attn.o_proj)):
            keep = found.setdefault(f"{kind}.{layer}", [])
            handles.append(module.register_forward_pre_hook(lambda _m, args, keep=keep: keep.append(args[0][0])))
    with torch.no_grad():
        for row in rows:
            hidden = llama.hf(torch.tensor([row]), output_hidden_states=True).hidden_states
            found.setdefault("resid_post.0", []).append(hidden[1][0])
    for handle in handles:
        handle.remove()
    return {site: torch.cat(parts).numpy() for site, parts in found.items()}


@pytest.fixture(scope="session")
def content():
    """A folder's files by name."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}

    return read
