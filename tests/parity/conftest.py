"""The models every promise is tested on: thirteen families, and the variants that are wired in another way."""

from functools import cache

import actkit
import pytest
import torch
from specimens import families


@cache
def _build(name: str, dtype: torch.dtype) -> actkit.Model:
    """A tiny model; in float64 with attention and experts that compute in float64 too."""
    if dtype == torch.float32:
        return actkit.load(families.tiny_model(name))
    # Gemma 2 has no sdpa only because of its soft cap in attention; without it the two are the same function.
    hf = families.tiny_model(name, dtype=dtype, **({"attn_logit_softcapping": None} if name == "gemma2" else {}))
    hf.config._attn_implementation = "sdpa"
    if name == "mixtral":
        hf.set_experts_implementation("eager")
    return actkit.load(hf)


@pytest.fixture(params=[*families.NAMES, *families.VARIANTS])
def case(request) -> str:
    return request.param


@pytest.fixture
def model(case) -> actkit.Model:
    return _build(case, torch.float32)


@pytest.fixture
def exact(case) -> actkit.Model:
    """The same model in float64."""
    return _build(case, torch.float64)


@pytest.fixture
def inner(model) -> list[str]:
    """Every site of the model but the logits."""
    return [name for name in model.sites if name != "logits"]


@pytest.fixture
def rows() -> list[list[int]]:
    """Prompts of mixed length; the first is longer than the sliding windows of the models that have one."""
    return [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [20, 21, 22], [30, 31, 32, 33, 34, 35]]


@pytest.fixture
def plain():
    """Hugging Face's own forward over a batch, without anything of ours."""

    @torch.no_grad()
    def forward(hf, batch, **options):
        return hf(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            **options,
        )

    return forward
