"""Exemplars as the original code finds them: a pass over the corpus per layer, whole sequences in the state.

For every layer the whole model runs, head included. The state of a polarity is the extrema of up to `SAVED` sequences,
and of the k strongest sequences all activations and a copy of all token ids, for every neuron. A batch is taken in by
putting it beside the state, `torch.topk` over all extrema, and gathering the k winners out of both.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

SAVED = 10_000

State = dict[str, Tensor]


def exemplars(hf: Any, layers: Sequence[Any], ids: Tensor, k: int, batch: int) -> Iterator[list[State]]:
    """Layer by layer (each given by its down projection) the states of both polarities, after all of `ids` [rows, T].

    The original writes a layer's state to files and lets go of it before the next: so may the caller.
    """
    for down in layers:
        yield _layer(hf, down, ids, k, batch)


@torch.no_grad()
def _layer(hf: Any, down: Any, ids: Tensor, k: int, batch: int) -> list[State]:
    states: list[State | None] = [None, None]
    seen: dict[str, Tensor] = {}
    hook = down.register_forward_pre_hook(lambda _, given: seen.update(acts=given[0]))
    for part in ids.split(batch):
        mask = torch.ones_like(part)
        hf(part, attention_mask=mask, use_cache=False)
        for i, sign in enumerate((1, -1)):
            states[i] = _updated(states[i], seen["acts"], part, mask, sign, k)
    hook.remove()
    return [state for state in states if state is not None]


def _updated(state: State | None, acts: Tensor, ids: Tensor, mask: Tensor, sign: int, k: int) -> State:
    """`acts` [B, T, I]. The extrema come in the order: the k strongest, the batch's, the others."""
    filled = acts.masked_fill(mask[..., None] == 0, -sign * torch.inf)
    extrema = filled.amax(1) if sign > 0 else filled.amin(1)
    every = filled
    copies = ids[..., None].expand(-1, -1, acts.shape[2]).contiguous()
    if state is not None:
        extrema = torch.cat([state["extrema"][:k], extrema, state["extrema"][k:]])
        every = torch.cat([state["acts"], every])
        copies = torch.cat([state["ids"], copies])
    top = torch.topk(extrema, min(SAVED, len(extrema)), dim=0, largest=sign > 0)
    chosen = top.indices[:k, None].expand(-1, acts.shape[1], -1)
    return {"extrema": top.values, "acts": every.gather(0, chosen), "ids": copies.gather(0, chosen)}
