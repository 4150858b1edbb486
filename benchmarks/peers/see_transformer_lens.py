"""Every case as TransformerLens sees it: `see_transformer_lens.py WORK`, run by compare.py in its environment.

Its bridge leaves weights as they are (nothing folded or centred) and derives positions from the attention mask.
"""

from pathlib import Path

import torch
from exchange import Batch, Seen, look
from transformer_lens.model_bridge import TransformerBridge

NAMES = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "attn.hook_q": "attn_q",
    "attn.hook_k": "attn_k",
    "attn.hook_rot_q": "attn_q",
    "attn.hook_rot_k": "attn_k",
    "attn.hook_v": "attn_v",
    "attn.hook_pattern": "attn_pattern",
    "attn.hook_z": "attn_z",
    "hook_attn_out": "attn_out",
    "mlp.hook_post": "mlp_post",
    "hook_mlp_out": "mlp_out",
}
"""Its name inside a block -> ours."""
UNROTATED = ("attn.hook_q", "attn.hook_k")


def see(checkpoint: Path, batch: Batch) -> Seen:
    """The cache's entries under our names, patterns with queries before heads."""
    bridge = TransformerBridge.boot_transformers(str(checkpoint), device="cpu", dtype=torch.float32)
    logits, cache = bridge.run_with_cache(batch["input_ids"], attention_mask=batch["attention_mask"])
    seen = {"logits": logits}
    for layer in range(bridge.cfg.n_layers):
        block = f"blocks.{layer}"
        # Ours are the queries and keys that attention is given; of GPT-NeoX it shows only those before rotation.
        rotates = f"{block}.attn.hook_cos" in cache
        for theirs, ours in NAMES.items():
            if f"{block}.{theirs}" in cache and not (rotates and theirs in UNROTATED):
                x = cache[f"{block}.{theirs}"]
                seen[f"{ours}.{layer}"] = x.transpose(1, 2) if ours == "attn_pattern" else x
    return seen


if __name__ == "__main__":
    look("transformer_lens", "transformer-lens", see)
