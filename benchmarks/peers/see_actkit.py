"""Every case as actkit sees it: `see_actkit.py WORK`, run by compare.py in our own environment."""

from pathlib import Path

import actkit
from exchange import Batch, Seen, look

INSIDE = ("attn_q", "attn_k", "attn_v", "attn_pattern")
OTHERS = ("resid_pre", "resid_mid", "resid_post", "attn_z", "attn_out", "mlp_post", "mlp_out", "logits")


def see(checkpoint: Path, batch: Batch) -> Seen:
    """Every site of these kinds that the family has; the others in a run of their own, with untouched attention."""
    model = actkit.load(checkpoint, device="cpu")
    rows = actkit.Batch(batch["input_ids"], batch["attention_mask"])
    seen: Seen = {}
    for kinds in (INSIDE, OTHERS):
        sites = [name for name in model.sites if name.partition(".")[0] in kinds]
        seen.update(model.run(rows, capture=sites))
    return seen


if __name__ == "__main__":
    look("actkit", "reasonscope-actkit", see)
