"""The races of speed.py against one peer: `race.py PEER CHECKPOINT ROUNDS SAMPLE`, in its environment; prints JSON."""

import json
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import actkit
import torch
from shapes import random_ids
from timing import milliseconds, race, ratio
from torch import Tensor
from transformers import AutoModelForCausalLM

ROWS, TOKENS = 4, 64
SITES = ("resid_post", "mlp_post")
LOGITS = ("all", "last")
Look = Callable[[], tuple[Tensor, list[Tensor]]]
"""Looks inside once: the logits and the activations of every layer."""
Looks = Callable[[str, str], Look]
"""From a kind of site, and where logits are wanted, to a way of looking."""


def main() -> None:
    """Every kind of site with every choice of logits; before a race all must see the same."""
    peer, checkpoint, rounds, sample = sys.argv[1:]
    torch.set_num_threads(1)
    with torch.no_grad():
        hf = AutoModelForCausalLM.from_pretrained(checkpoint)
        ids = random_ids(hf, ROWS, TOKENS)
        theirs = {"transformer_lens": _transformer_lens, "nnsight": _nnsight}[peer](checkpoint, ids)
        ours = _actkit(checkpoint, ids)
        for sites, logits in product(SITES, LOGITS):
            looks = {"actkit": ours(sites, logits), peer: theirs(sites, logits)}
            _check_same(looks["actkit"](), looks[peer]())
            keep = _keep(logits)
            taken = race(
                {"plain": lambda keep=keep: hf(input_ids=ids, use_cache=False, **keep), **looks},
                rounds=int(rounds),
                sample=float(sample),
            )
            pairs = (("actkit", "plain"), (peer, "plain"), (peer, "actkit"))
            ratios = {f"{a} / {b}": ratio(taken, a, b) for a, b in pairs}
            row = {"peer": peer, "sites": sites, "logits": logits}
            print(json.dumps({**row, "milliseconds": milliseconds(taken), "ratios": ratios}), flush=True)


def _keep(logits: str) -> dict[str, int]:
    return {"logits_to_keep": 1} if logits == "last" else {}


def _actkit(checkpoint: str, ids: Tensor) -> Looks:
    model = actkit.load(checkpoint, device="cpu")
    batch = model.encode(ids)

    def looks(sites: str, logits: Any) -> Look:
        def look() -> tuple[Tensor, list[Tensor]]:
            run = model.run(batch, capture=f"{sites}.*", logits=logits)
            assert run.logits is not None
            return run.logits, list(run.values())

        return look

    return looks


def _transformer_lens(checkpoint: str, ids: Tensor) -> Looks:
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(checkpoint, device="cpu", dtype=torch.float32)

    def looks(sites: str, logits: str) -> Look:
        hook = {"resid_post": "hook_resid_post", "mlp_post": "mlp.hook_post"}[sites]
        names = [f"blocks.{layer}.{hook}" for layer in range(bridge.cfg.n_layers)]

        def look() -> tuple[Tensor, list[Tensor]]:
            out, cache = bridge.run_with_cache(ids, names_filter=names, use_cache=False, **_keep(logits))
            return out, [cache[name] for name in names]

        return look

    return looks


def _nnsight(checkpoint: str, ids: Tensor) -> Looks:
    import nnsight
    from see_nnsight import PARTS, at

    hf = AutoModelForCausalLM.from_pretrained(checkpoint)
    model, parts = nnsight.NNsight(hf), PARTS[hf.config.model_type]
    blocks = list(at(model, parts.blocks))
    downs = [at(block, parts.mlp_down) for block in blocks]

    def looks(sites: str, logits: str) -> Look:
        def residuals() -> tuple[Tensor, list[Tensor]]:
            with model.trace(input_ids=ids, use_cache=False, **_keep(logits)):
                seen = nnsight.save([block.output for block in blocks])
                out = model.output.logits.save()
            return out, seen

        def neurons() -> tuple[Tensor, list[Tensor]]:
            with model.trace(input_ids=ids, use_cache=False, **_keep(logits)):
                seen = nnsight.save([down.input for down in downs])
                out = model.output.logits.save()
            return out, seen

        return {"resid_post": residuals, "mlp_post": neurons}[sites]

    return looks


def _check_same(ours: tuple[Tensor, list[Tensor]], theirs: tuple[Tensor, list[Tensor]]) -> None:
    """As many tensors with the same values: nobody gets a time for having done less."""
    assert len(ours[1]) == len(theirs[1]), (len(ours[1]), len(theirs[1]))
    for mine, other in zip([ours[0].squeeze(1), *ours[1]], [theirs[0].squeeze(1), *theirs[1]], strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


if __name__ == "__main__":
    main()
