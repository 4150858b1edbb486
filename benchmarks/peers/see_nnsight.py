"""Every case as nnsight sees it: `see_nnsight.py WORK`, run by compare.py in its environment.

Eager attention, because only then a module of the model hands its pattern out.
"""

from pathlib import Path
from typing import Any, NamedTuple

from exchange import Batch, Seen, look
from nnsight import NNsight
from transformers import AutoModelForCausalLM


class Parts(NamedTuple):
    """Where an architecture keeps what a trace touches; all but the first relative to a block."""

    blocks: str
    attn: str
    attn_proj: str
    resid_mid: str | None
    mlp_down: str


_LLAMA = Parts("model.layers", "self_attn", "self_attn.o_proj", "post_attention_layernorm", "mlp.down_proj")
PARTS = {
    "gpt2": Parts("transformer.h", "attn", "attn.c_proj", "ln_2", "mlp.c_proj"),
    "gpt_neox": Parts("gpt_neox.layers", "attention", "attention.dense", None, "mlp.dense_4h_to_h"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
}


def at(envoy: Any, path: str) -> Any:
    """The part of a model, or of a block, at a dotted path."""
    for name in path.split("."):
        envoy = getattr(envoy, name)
    return envoy


def see(checkpoint: Path, batch: Batch) -> Seen:
    """One trace; sites are named in the order in which the forward pass reaches them, as nnsight demands."""
    hf = AutoModelForCausalLM.from_pretrained(checkpoint, attn_implementation="eager")
    model, parts = NNsight(hf), PARTS[hf.config.model_type]
    seen: Seen = {}
    with model.trace(**batch, use_cache=False):
        for layer, block in enumerate(at(model, parts.blocks)):
            projection, down = at(block, parts.attn_proj), at(block, parts.mlp_down)
            seen[f"resid_pre.{layer}"] = block.input.save()
            seen[f"attn_z.{layer}"] = projection.input.save()
            seen[f"attn_out.{layer}"] = projection.output.save()
            seen[f"attn_pattern.{layer}"] = at(block, parts.attn).output[1].save()
            if parts.resid_mid:
                seen[f"resid_mid.{layer}"] = at(block, parts.resid_mid).input.save()
            seen[f"mlp_post.{layer}"] = down.input.save()
            seen[f"mlp_out.{layer}"] = down.output.save()
            seen[f"resid_post.{layer}"] = block.output.save()
        seen["logits"] = model.output.logits.save()
    return {name: _shaped(name, x, hf.config.num_attention_heads) for name, x in seen.items()}


def _shaped(name: str, x: Any, heads: int) -> Any:
    """Heads apart, and queries before them."""
    if name.startswith("attn_z"):
        return x.unflatten(-1, (heads, -1))
    return x.transpose(1, 2) if name.startswith("attn_pattern") else x


if __name__ == "__main__":
    look("nnsight", "nnsight", see)
