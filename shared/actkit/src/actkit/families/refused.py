"""Architectures that are known, and cannot be served."""

_STREAMS = "its blocks carry several residual streams at once, so there is no one stream to see"
REFUSED: dict[str, str] = {
    **dict.fromkeys(("gemma3n_text", "deepseek_v4", "hy_v4", "qwen4_exp_text", "inkling2_text"), _STREAMS),
    "blt": "it is three transformers over bytes and patches, not one stack of blocks",
    "cpmant": "it reads prompt and segment tokens of its own beside the text",
    "hrm_text": "it goes through its blocks several times in one forward",
    "reformer": "its blocks are reversible: two streams at once",
}
"""Architectures that cannot be served, and why."""
