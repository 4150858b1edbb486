"""How the original code of Wang et al. (2024) traces, written anew from its description: the peer of `trace`.

One example, one site, one layer at a time: a forward of the clean prompt and one of the corrupted prompt give the
states after every block; one of them is put into the clean ones, and the blocks after it are run by hand. The original
then sorts all logits of every position in Python; here the rank is counted at the last position, so that what is
compared is the passes.
"""

from typing import Any

import torch
from grokked_reasoning.tracing.examples import Examples, Patch
from jaxtyping import Int
from torch import Tensor
from transformers import GPT2LMHeadModel


@torch.no_grad()
def ranks(model: GPT2LMHeadModel, examples: Examples) -> dict[str, Int[Tensor, "n L"]]:
    """Rank of the answer after patching each site after each layer but the last; -1 where there is no such prompt."""
    found = {patch.site: torch.full((len(examples), model.config.n_layer - 1), -1) for patch in examples.patches}
    for i, prompt in enumerate(examples.prompts):
        clean = _states(model, prompt)
        answer = int(examples.targets["answer"][i, 0])
        for patch in examples.patches:
            source = _corrupted(patch, i)
            if source is None:
                continue
            other = _states(model, source)
            for layer in range(1, model.config.n_layer):
                found[patch.site][i, layer - 1] = _rank(model, clean[layer], other[layer], patch, layer, answer)
    return found


def _states(model: GPT2LMHeadModel, prompt: Any) -> tuple[Tensor, ...]:
    """[1, T, D] after 0, 1, ... blocks."""
    given: Any = torch.as_tensor(prompt, device=model.device)[None]
    return model.transformer(given, output_hidden_states=True).hidden_states


def _corrupted(patch: Patch, example: int) -> Any:
    """The corrupted prompt up to what is patched, which is all that the patched states depend on."""
    place = (patch.rows == example).nonzero()[0]
    return patch.prompts[place[0], : max(patch.positions) + 1] if len(place) else None


def _rank(model: Any, clean: Tensor, other: Tensor, patch: Patch, layer: int, answer: int) -> int:
    hidden = clean.clone()
    for position in patch.positions:
        hidden[:, position] = other[:, position]
    for block in model.transformer.h[layer:]:
        hidden = block(hidden)
    logits = model.lm_head(model.transformer.ln_f(hidden))[0, -1]
    return int((logits > logits[answer]).sum())
