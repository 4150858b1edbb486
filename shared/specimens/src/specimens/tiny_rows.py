"""How each family's configuration is called and what it needs beyond the sizes: the table behind `specimens.families`.

A row is dense on purpose: small enough to load all of them in a loop, and with every part a family can have, so layers
of both kinds in hybrids, a dense layer before experts, a sliding window shorter than the prompts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One family. Sizes are passed in Llama's words (Hugging Face's configurations translate most themselves)."""

    model_type: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    """Shape field -> configuration field where it differs from Llama's; "" where there is none."""
    cycle: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Configuration fields that list one value per layer: repeated to the number of layers."""
    d_mlp: int | None = None
    """Neurons per layer (or per expert) where that is not the shape's `d_mlp`."""


def _row(model_type: str, *presets: Mapping[str, Any], names: Mapping[str, str] | None = None, **extra: Any) -> Row:
    fields: dict[str, Any] = {"tie_word_embeddings": False}
    for preset in presets:
        fields |= preset
    fields |= extra
    cycle = {name: value for name, value in fields.items() if isinstance(value, tuple)}
    d_mlp = fields.pop("d_mlp", None)
    return Row(model_type, {k: v for k, v in fields.items() if k not in cycle}, names or {}, cycle, d_mlp)


_TIED = {"tie_word_embeddings": True}
_HEAD = {"head_dim": 8}
_WINDOW = {"sliding_window": 8}
_ALTERNATING = {"layer_types": ("sliding_attention", "full_attention"), **_WINDOW}
_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
_NO_KV, _NO_MLP = {"kv_heads": ""}, {"d_mlp": ""}
# Families spell the number of experts in three ways; those that do not know a spelling ignore it.
_MOE = {"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2}
_NARROW = {**_MOE, "moe_intermediate_size": 24, "d_mlp": 24}
_GROUPS = {"n_group": 1, "topk_group": 1, "n_shared_experts": 1}
_DENSE_FIRST = {"first_k_dense_replace": 1}
_LATENT = {
    "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16,
    "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "qk_head_dim": 12, "v_head_dim": 8, "head_dim": 4,
}  # fmt: skip
_LINEAR = {
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "layer_types": ("linear_attention", "full_attention", "linear_attention"),
}  # fmt: skip
_MAMBA2 = {
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_expand": 2,
         "mamba_chunk_size": 8,
}  # fmt: skip

_LIST: tuple[Row, ...] = (
    # Like Llama, or nearly so.
    _row("llama"),
    _row("mistral", _WINDOW),
    _row("ministral", _HEAD, _ALTERNATING),
    _row("ministral3", _HEAD),
    _row("qwen2"),
    _row("qwen3", head_dim=12),
    _row("phi3"),
    _row("olmo"),
    _row("olmo2"),
    _row("olmo3", _ALTERNATING),
    _row("granite", embedding_multiplier=2.0, logits_scaling=3.0, residual_multiplier=0.7, attention_multiplier=0.3),
    _row("granite_swa", _ALTERNATING, logits_scaling=3.0, residual_multiplier=0.7),
    _row("glm", _HEAD),
    _row("glm4", _HEAD),
    _row("helium", _HEAD),
    _row("smollm3", no_rope_layers=(1, 0)),
    _row("arcee"),
    _row("nemotron"),
    _row("cohere", _TIED, logit_scale=0.25),
    _row("cohere2", _TIED, _ALTERNATING, logit_scale=0.25),
    _row("seed_oss", _HEAD),
    _row("apertus"),
    _row("exaone4", _ALTERNATING),
    _row("hunyuan_v1_dense", _HEAD),
    _row("ernie4_5", _HEAD),
    _row("bitnet"),
    _row("diffllama"),
    _row("minicpm3", _LATENT, scale_emb=2, dim_model_base=16, scale_depth=1.4),
    _row("jais2", num_key_value_heads=4),
    _row("nanochat"),
    _row("hyperclovax", residual_multiplier=0.7, logits_scaling=3.0),
    _row("cwm", _HEAD, _ALTERNATING),
    _row("youtu", _LATENT),
    _row("beam", _NARROW, _HEAD, _GROUPS, mlp_layer_types=("dense", "sparse")),
    _row("stablelm"),
    _row("starcoder2"),
    _row("persimmon", names=_NO_KV),
    _row("phi", num_key_value_heads=2),
    _row("gemma", _TIED, _HEAD),
    _row("gemma2", _TIED, _HEAD, _WINDOW, query_pre_attn_scalar=8),
    _row("gemma3_text", _TIED, _HEAD, _WINDOW, query_pre_attn_scalar=8, sliding_window_pattern=2),
    _row("gemma4_text", _TIED, _HEAD, _ALTERNATING, global_head_dim=8, hidden_size_per_layer_input=8,
         vocab_size_per_layer_input=320, num_kv_shared_layers=0),
    _row("vaultgemma", _TIED, _HEAD, _ALTERNATING, query_pre_attn_scalar=8),
    _row("modernbert-decoder", _TIED, global_attn_every_n_layers=2, local_attention=16),
    _row("doge"),
    # Other wirings and names.
    _row("gpt2", _TIED, names={"d_mlp": "n_inner", **_NO_KV}),
    _row("gpt_bigcode", _TIED, names={"d_mlp": "n_inner", **_NO_KV}),
    _row("gpt_neo", _TIED, names=_NO_KV, attention_types=[[["global", "local", "global"], 1]], window_size=8),
    _row("gptj", names={"d_mlp": "n_inner", **_NO_KV}, rotary_dim=4),
    _row("gpt_neox", names=_NO_KV),
    _row("gpt_neox_japanese", names={**_NO_KV, **_NO_MLP}, intermediate_multiple_size=2, d_mlp=64),
    _row("codegen", names={"d_mlp": "n_inner", **_NO_KV}, rotary_dim=4),
    _row("opt", names={"d_mlp": "ffn_dim", **_NO_KV}),
    _row("xglm", _TIED, names={"d_mlp": "ffn_dim", **_NO_KV}),
    _row("biogpt", _TIED, names=_NO_KV),
    _row("bloom", _TIED, names={**_NO_KV, **_NO_MLP}, d_mlp=128),
    _row("mpt", _TIED, names={**_NO_KV, **_NO_MLP}, d_mlp=128),
    _row("falcon", _TIED, names={"d_mlp": "ffn_hidden_size", **_NO_KV}),
    _row("ctrl", _TIED, names={"d_mlp": "dff", **_NO_KV}),
    _row("openai-gpt", _TIED, names={**_NO_KV, **_NO_MLP}, d_mlp=128),
    # Mixtures of experts.
    _row("mixtral", _MOE),
    _row("qwen2_moe", _NARROW, shared_expert_intermediate_size=40, mlp_only_layers=[0]),
    _row("qwen3_moe", _NARROW, mlp_only_layers=[0]),
    _row("phimoe", _MOE),
    _row("olmoe", _MOE),
    _row("flex_olmo", _MOE),
    _row("granitemoe", _MOE, logits_scaling=3.0, residual_multiplier=0.7),
    _row("granitemoe_swa", _MOE, _ALTERNATING),
    _row("granitemoeshared", _MOE, shared_intermediate_size=40),
    _row("jetmoe", _MOE, num_key_value_heads=2, kv_channels=8),
    _row("deepseek_v2", _NARROW, _LATENT, _GROUPS, _DENSE_FIRST),
    _row("deepseek_v3", _NARROW, _LATENT, _GROUPS, _DENSE_FIRST),
    _row("glm4_moe", _NARROW, _GROUPS, _DENSE_FIRST, _HEAD),
    _row("glm4_moe_lite", _NARROW, _LATENT, _GROUPS),
    _row("dots1", _NARROW, _GROUPS, _DENSE_FIRST),
    _row("ernie4_5_moe", _NARROW, moe_num_experts=4, moe_k=2, moe_num_shared_experts=1, moe_layer_start_index=1),
    _row("gpt_oss", _MOE, _HEAD, _ALTERNATING),
    _row("llama4_text", _MOE, _HEAD, intermediate_size_mlp=40, interleave_moe_layer_step=2, attention_chunk_size=8),
    _row("hunyuan_v1_moe", _MOE, _HEAD, moe_topk=2),
    _row("minimax", _MOE, _HEAD, layer_types=("linear_attention", "full_attention"), block_size=8),
    _row("minimax_m2", _MOE, _HEAD),
    _row("exaone_moe", _NARROW, _GROUPS, _ALTERNATING, _DENSE_FIRST),
    _row("aria_text", _NARROW, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1),
    _row("afmoe", _NARROW, _HEAD, _ALTERNATING, num_dense_layers=1, num_shared_experts=1),
    _row("cohere2_moe", _TIED, _NARROW, _HEAD, _ALTERNATING, logit_scale=0.25),
    _row("solar_open", _NARROW, _GROUPS, _HEAD),
    _row("hy_v3", _NARROW, _HEAD),
    _row("mellum", _NARROW, _HEAD, _ALTERNATING),
    _row("laguna", _NARROW, _HEAD, _ALTERNATING),
    _row("mimo_v2_flash", _NARROW, _HEAD, _ALTERNATING, v_head_dim=8),
    _row("axk1", _NARROW, _LATENT, _GROUPS, _DENSE_FIRST),
    _row("flint", _NARROW, _HEAD),
    _row("dbrx",
         names={"d_model": "d_model", "heads": "n_heads", "layers": "n_layers", "context": "max_seq_len",
                **_NO_KV, **_NO_MLP},
         attn_config={"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
         ffn_config={"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32}),
    _row("longcat_flash", _MOE, _LATENT, names={"layers": "num_layers", "d_mlp": "ffn_hidden_size"},
         moe_topk=2, zero_expert_num=2, expert_ffn_hidden_size=24),
    # State-space, convolution and linear-attention layers, alone or between attention layers.
    _row("mamba", names={**_NO_KV, "heads": "", "d_mlp": ""}, state_size=8),
    _row("mamba2", names={**_NO_KV, "heads": "", "d_mlp": ""}, state_size=8, num_heads=4, head_dim=16, n_groups=1,
         chunk_size=8),
    _row("falcon_mamba", names={**_NO_KV, "heads": "", "d_mlp": ""}, state_size=8),
    _row("rwkv", names={**_NO_KV, "heads": "", "context": "context_length"}, attention_hidden_size=32),
    _row("recurrent_gemma", _TIED, _HEAD, d_mlp=24, lru_width=32, attention_window_size=8,
         block_types=("recurrent", "attention", "recurrent"), conv1d_width=4),
    _row("jamba", _MOE, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1,
         mamba_d_state=8, mamba_dt_rank=4, use_mamba_kernels=False),
    _row("bamba", _MAMBA2, attn_layer_indices=[1]),
    _row("zamba", _TIED, layers_block_type=["mamba", "hybrid", "mamba", "hybrid"], num_hidden_layers=4,
         attention_head_dim=16,
         num_key_value_heads=4, n_mamba_heads=2, mamba_d_state=8, mamba_dt_rank=4, use_mamba_kernels=False),
    _row("zamba2", _TIED, layers_block_type=["mamba", "hybrid", "mamba"], num_key_value_heads=4, mamba_d_state=8,
         n_mamba_heads=4, time_step_min=1e-6,
         mamba_headdim=16, mamba_ngroups=1, chunk_size=8, use_mamba_kernels=False),
    _row("falcon_h1", _MAMBA2, _HEAD, mamba_d_ssm=64, lm_head_multiplier=0.5, mlp_multipliers=[0.9, 0.8],
         embedding_multiplier=2.0,
         attention_out_multiplier=0.7, ssm_out_multiplier=0.6, key_multiplier=0.9),
    _row("granitemoehybrid", _MOE, _MAMBA2, layer_types=("mamba", "attention", "mamba"), shared_intermediate_size=40),
    _row("nemotron_h", _MAMBA2, _HEAD, layers_block_type=["mamba", "attention", "mlp"], mamba_num_heads=4,
         mamba_head_dim=16, time_step_min=1e-6,
         ssm_state_size=8, n_groups=1, chunk_size=8, use_mamba_kernels=False),
    _row("lfm2", layer_types=("conv", "full_attention", "conv"), block_auto_adjust_ff_dim=False),
    _row("lfm2_moe", _NARROW, layer_types=("conv", "full_attention", "conv"), num_dense_layers=1),
    _row("lfm3", _HEAD, layer_types=("conv", "full_attention", "conv"), block_auto_adjust_ff_dim=False),
    _row("qwen3_next", _NARROW, _HEAD, _LINEAR, shared_expert_intermediate_size=40, mlp_only_layers=[0]),
    _row("qwen3_5_text", _HEAD, _LINEAR),
    _row("qwen3_5_moe_text", _NARROW, _HEAD, _LINEAR, shared_expert_intermediate_size=40),
    _row("olmo_hybrid", _LINEAR),
    _row("kimi_linear", _NARROW, _LATENT, _GROUPS, _DENSE_FIRST, linear_head_dim=8, linear_num_heads=4,
         names={"context": "model_max_length"},
         layer_types=("linear_attention", "full_attention", "linear_attention")),
)  # fmt: skip

ROWS: dict[str, Row] = {row.model_type: row for row in _LIST}
# Two names that are in use already: the model type where it has a suffix of no interest.
ROWS["gemma3"] = ROWS.pop("gemma3_text")
