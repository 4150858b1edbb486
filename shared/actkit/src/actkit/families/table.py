"""One row per family. A row says only where it differs from Llama."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from actkit import attention
from actkit.families.row import Family

_PARALLEL = {
    "resid_mid": None,
    "refuses": {"resid_mid": "attention and MLP read the same stream in parallel, so there is no stream between them"},
}
_OFFSET = {"norm_offset": 1.0}
_CAPPED = {"softcap": "final_logit_softcapping"}
_POST_NORM = {"resid_mid": "mlp"}  # norms stand behind attention and MLP: the MLP's own input is the stream
_SANDWICH = {"resid_mid": "pre_feedforward_layernorm"}
_EXPERTS = {"experts": "mlp.experts"}
_SHARED = {"experts": "mlp.experts", "shared_experts": "mlp.shared_experts.down_proj"}
_SHARED_ONE = {"experts": "mlp.experts", "shared_experts": "mlp.shared_expert.down_proj"}
_BLOCK_SPARSE = {"mlp": "block_sparse_moe", "experts": "block_sparse_moe.experts", "mlp_down": None}
_ADDED_OUTSIDE = {"mlp_out": "the block itself adds experts and shared MLP, so no module gives what both write"}
_FEED_FORWARD = {"mlp": "feed_forward", "mlp_down": "feed_forward.down_proj"}
_FINAL_LAYERNORM = {"final_norm": "model.final_layernorm"}
_TRANSFORMER = {"blocks": "transformer.h", "embed": "transformer.wte", "final_norm": "transformer.ln_f"}
_FAIRSEQ = {"attn_proj": "self_attn.out_proj", "mlp_down": "fc2", "mlp": None, "resid_mid": "final_layer_norm"}
_DENSE_4H = {"mlp_down": "mlp.dense_4h_to_h", "mlp": "mlp.dense_4h_to_h"}
_MAMBA = {"mamba": "Mamba (state-space)"}
_CONV = {"conv": "short-convolution"}
_DELTA = {"linear_attn": "linear-attention (gated delta rule)"}
_RESIDUAL_ONLY = {"attn_proj": None, "mlp_down": None, "mlp": None, "resid_mid": None}
_STATE = {
    "blocks": "backbone.layers",
    "embed": "backbone.embeddings",
    "final_norm": "backbone.norm_f",
    "mixers": {"mixer": "Mamba (state-space)"},
    "refuses": dict.fromkeys(("resid_mid", "mlp_post", "mlp_out"), "a layer is one Mamba block, without an MLP"),
    "cache": "cache_params",
    **_RESIDUAL_ONLY,
}
_BORROWED = dict.fromkeys(
    ("attn_z", "attn_out", "attn_q", "attn_k", "attn_v", "attn_pattern", "resid_mid", "mlp_post", "mlp_out"),
    "attention and MLP are one block shared by several layers, whose output goes through a further map to the stream",
)


_LEAKS = "its recurrent layers read padding as text"


def _divided(field: str) -> Any:
    return lambda config: 1 / getattr(config, field)


def _times(field: str) -> Any:
    return lambda config: getattr(config, field)


def _row(name: str, model_type: str, *facts: Mapping[str, Any], **more: Any) -> Family:
    fields: dict[str, Any] = {}
    for some in facts:
        fields |= some
    return Family(name, model_type, **{**fields, **more})


_OPT = _row(
    "OPT",
    "opt",
    _FAIRSEQ,
    when=lambda config: config.do_layer_norm_before,
    blocks="model.decoder.layers",
    embed="model.decoder.embed_tokens",
    final_norm="model.decoder.final_layer_norm",
    project_out="model.decoder.project_out",
)
_NEOX = _row(
    "GPT-NeoX",
    "gpt_neox",
    _PARALLEL,
    _DENSE_4H,
    when=lambda config: config.use_parallel_residual,
    blocks="gpt_neox.layers",
    embed="gpt_neox.embed_in",
    final_norm="gpt_neox.final_layer_norm",
    attn_proj="attention.dense",
)
_FALCON = _row(
    "Falcon",
    "falcon",
    _PARALLEL,
    _DENSE_4H,
    _TRANSFORMER,
    when=lambda config: config.parallel_attn or config.new_decoder_architecture,
    embed="transformer.word_embeddings",
    attn_proj="self_attention.dense",
    overwrites=frozenset({"mlp_out"}),
)
_STABLELM = _row("StableLM", "stablelm")
_GEMMA4 = _row("Gemma 4", "gemma4_text", _SANDWICH, _CAPPED)
_HYBRID_GRANITE = _row(
    "Granite 4 (hybrid)",
    "granitemoehybrid",
    mixers=_MAMBA,
    logit_scale=_divided("logits_scaling"),
    mlp="shared_mlp",
    mlp_down="shared_mlp.output_linear",
)

_LIKE_LLAMA = {
    "llama": "Llama", "mistral": "Mistral", "ministral": "Ministral", "ministral3": "Ministral 3", "qwen2": "Qwen2",
    "qwen3": "Qwen3", "phi3": "Phi-3", "olmo": "OLMo", "glm": "GLM", "glm4": "GLM-4", "helium": "Helium",
    "smollm3": "SmolLM3", "arcee": "Arcee", "seed_oss": "Seed-OSS", "hunyuan_v1_dense": "Hunyuan",
    "ernie4_5": "ERNIE 4.5", "bitnet": "BitNet", "jais2": "Jais 2", "cwm": "CWM", "youtu": "Youtu", "doge": "Doge",
}  # fmt: skip

_DENSE: tuple[Family, ...] = (
    *(Family(name, model_type) for model_type, name in _LIKE_LLAMA.items()),
    _row("DiffLlama", "diffllama",
         refuses=dict.fromkeys(attention.KINDS, "its attention is the difference of two patterns")),
    _row("OLMo 2", "olmo2", _POST_NORM),
    _row("OLMo 3", "olmo3", _POST_NORM),
    _row("EXAONE 4", "exaone4", _POST_NORM),
    _row("Granite", "granite", logit_scale=_divided("logits_scaling")),
    _row("Granite SWA", "granite_swa", logit_scale=_divided("logits_scaling")),
    _row("HyperCLOVA X", "hyperclovax", logit_scale=_times("logits_scaling")),
    _row("MiniCPM 3", "minicpm3", logit_scale=lambda config: config.dim_model_base / config.hidden_size),
    _row("Nemotron", "nemotron", _OFFSET),
    _row("Apertus", "apertus", resid_mid="feedforward_layernorm"),
    _row("nanochat", "nanochat", _CAPPED, mlp_down="mlp.fc2"),
    _row("Cohere", "cohere", _PARALLEL, logit_scale=_times("logit_scale")),
    _row("Cohere 2", "cohere2", _PARALLEL, logit_scale=_times("logit_scale")),
    _row("StarCoder2", "starcoder2", mlp_down="mlp.c_proj"),
    replace(_STABLELM, name="StableLM (parallel)", when=lambda config: config.use_parallel_residual, **_PARALLEL),
    _STABLELM,
    _row("Persimmon", "persimmon", _DENSE_4H, _FINAL_LAYERNORM, attn_proj="self_attn.dense"),
    _row("Phi", "phi", _PARALLEL, _FINAL_LAYERNORM, attn_proj="self_attn.dense", mlp_down="mlp.fc2"),
    _row("Gemma", "gemma", _OFFSET),
    _row("Gemma 2", "gemma2", _OFFSET, _SANDWICH, _CAPPED),
    _row("Gemma 3", "gemma3_text", _OFFSET, _SANDWICH, _CAPPED),
    replace(
        _GEMMA4,
        name="Gemma 4 (experts)",
        when=lambda config: config.enable_moe_block,
        experts="experts",
        shared_experts="mlp.down_proj",
        mlp_down=None,
        mlp=None,
        refuses=_ADDED_OUTSIDE,
    ),
    _GEMMA4,
    _row("VaultGemma", "vaultgemma", _OFFSET, _SANDWICH, _CAPPED),
    _row(
        "ModernBERT decoder",
        "modernbert-decoder",
        embed="model.embeddings.tok_embeddings",
        final_norm="model.final_norm",
        project_out="lm_head",
        head="decoder",
        attn_proj="attn.Wo",
        mlp_down="mlp.Wo",
        resid_mid="mlp_norm",
    ),
    _row("GPT-2", "gpt2", _TRANSFORMER, attn_proj="attn.c_proj", mlp_down="mlp.c_proj", resid_mid="ln_2"),
    _row("GPT BigCode", "gpt_bigcode", _TRANSFORMER, attn_proj="attn.c_proj", mlp_down="mlp.c_proj",
         resid_mid="ln_2"),
    _row("GPT-Neo", "gpt_neo", _TRANSFORMER, attn_proj="attn.attention.out_proj", mlp_down="mlp.c_proj",
         resid_mid="ln_2"),
    _row("GPT-J", "gptj", _TRANSFORMER, _PARALLEL, attn_proj="attn.out_proj", mlp_down="mlp.fc_out"),
    _row("CodeGen", "codegen", _TRANSFORMER, _PARALLEL, attn_proj="attn.out_proj", mlp_down="mlp.fc_out"),
    _OPT,
    # The 350M model norms after each part, has no final norm, and projects to a narrower embedding.
    replace(_OPT, name="OPT (post-norm)", when=lambda _: True, final_norm=None, resid_mid="fc1"),
    _row("XGLM", "xglm", _FAIRSEQ, final_norm="model.layer_norm"),
    _row(
        "BioGPT",
        "biogpt",
        _FAIRSEQ,
        blocks="biogpt.layers",
        embed="biogpt.embed_tokens",
        final_norm="biogpt.layer_norm",
        head="output_projection",
    ),
    _NEOX,
    replace(
        _NEOX, name="GPT-NeoX (serial)", when=lambda _: True, resid_mid="post_attention_layernorm", refuses={}
    ),
    _row(
        "GPT-NeoX Japanese",
        "gpt_neox_japanese",
        _DENSE_4H,
        blocks="gpt_neox_japanese.layers",
        embed="gpt_neox_japanese.embed_in",
        final_norm="gpt_neox_japanese.final_layer_norm",
        head="embed_out",
        attn_proj="attention.dense",
    ),
    _FALCON,
    replace(
        _FALCON,
        name="Falcon (serial)",
        when=lambda _: True,
        resid_mid="post_attention_layernorm",
        overwrites=frozenset(),
        refuses={},
    ),
    _row("BLOOM", "bloom", _TRANSFORMER, _DENSE_4H, embed="transformer.word_embeddings",
         attn_proj="self_attention.dense"),
    _row(
        "MPT",
        "mpt",
        blocks="transformer.blocks",
        embed="transformer.wte",
        final_norm="transformer.norm_f",
        attn_proj="attn.out_proj",
        mlp_down="ffn.down_proj",
        mlp=None,
        resid_mid="norm_2",
    ),
    _row(
        "CTRL",
        "ctrl",
        blocks="transformer.h",
        overwrites=frozenset({"embed"}),
        embed="transformer.w",
        final_norm="transformer.layernorm",
        attn_proj="multi_head_attention.dense",
        mlp_down="ffn.2",
        mlp="ffn",
        resid_mid="layernorm2",
    ),
    _row(
        "GPT",
        "openai-gpt",
        blocks="transformer.h",
        embed="transformer.tokens_embed",
        final_norm=None,
        attn_proj="attn.c_proj",
        mlp_down="mlp.c_proj",
        resid_mid="mlp",
        refuses={"generate": "Hugging Face's model has no key-value cache"},
    ),
)  # fmt: skip

_EXPERT_ONLY = {
    "mixtral": "Mixtral", "qwen3_moe": "Qwen3 MoE", "phimoe": "Phi-3.5 MoE", "olmoe": "OLMoE", "gpt_oss": "gpt-oss",
    "minimax_m2": "MiniMax M2", "mellum": "Mellum", "mimo_v2_flash": "MiMo V2 Flash",
}  # fmt: skip
_WITH_SHARED = {
    "deepseek_v2": "DeepSeek-V2", "deepseek_v3": "DeepSeek-V3", "glm4_moe": "GLM-4 MoE",
    "glm4_moe_lite": "GLM-4 MoE Lite",
    "dots1": "dots.llm1", "ernie4_5_moe": "ERNIE 4.5 MoE", "exaone_moe": "EXAONE MoE", "aria_text": "Aria",
    "solar_open": "Solar Open", "hy_v3": "Hunyuan V3", "laguna": "Laguna", "axk1": "A.X K1",
}  # fmt: skip
_THREE_D = "its experts do not go through Hugging Face's experts interface"

_MIXTURES: tuple[Family, ...] = (
    *(_row(name, model_type, _EXPERTS) for model_type, name in _EXPERT_ONLY.items()),
    *(_row(name, model_type, _SHARED) for model_type, name in _WITH_SHARED.items()),
    _row("Qwen2 MoE", "qwen2_moe", _SHARED_ONE),
    _row("Flint", "flint", _SHARED_ONE),
    _row("FlexOLMo", "flex_olmo", _EXPERTS, _POST_NORM),
    _row("AFMoE", "afmoe", _SHARED, resid_mid="pre_mlp_layernorm"),
    _row("Hunyuan MoE", "hunyuan_v1_moe", _EXPERTS, shared_experts="mlp.shared_mlp.down_proj"),
    _row("Cohere 2 MoE", "cohere2_moe", _EXPERTS, _PARALLEL, logit_scale=_times("logit_scale")),
    _row(
        "MiniMax",
        "minimax",
        _EXPERTS,
        mixers={"self_attn:Lightning": "linear-attention (lightning)"},
        refuses={"generate": "it needs a cache of its own class"},
    ),
    _row("Granite MoE", "granitemoe", _BLOCK_SPARSE, logit_scale=_divided("logits_scaling")),
    _row("Granite MoE SWA", "granitemoe_swa", _BLOCK_SPARSE, logit_scale=_divided("logits_scaling")),
    _row(
        "Granite MoE (shared)",
        "granitemoeshared",
        _BLOCK_SPARSE,
        logit_scale=_divided("logits_scaling"),
        shared_experts="shared_mlp.output_linear",
        refuses=_ADDED_OUTSIDE,
    ),
    _row(
        "Llama 4",
        "llama4_text",
        _FEED_FORWARD,
        experts="feed_forward.experts",
        shared_experts="feed_forward.shared_expert.down_proj",
    ),
    _row("Beam", "beam", _SHARED, _SANDWICH, _CAPPED),
    _row(
        "JetMoE",
        "jetmoe",
        attn="self_attention",
        attn_proj=None,
        mlp_down=None,
        refuses={"mlp_post": _THREE_D, **dict.fromkeys(("attn_z", "attn_out"), "its projection is a mixture, too")},
    ),
    _row(
        "DBRX",
        "dbrx",
        blocks="transformer.blocks",
        embed="transformer.wte",
        final_norm="transformer.norm_f",
        attn_proj="norm_attn_norm.attn.out_proj",
        mlp_down=None,
        mlp="ffn",
        resid_mid="norm_attn_norm.norm_2",
        refuses={"mlp_post": _THREE_D},
    ),
    _row(
        "LongCat Flash",
        "longcat_flash",
        _RESIDUAL_ONLY,
        refuses=dict.fromkeys(_BORROWED, "a layer holds two attentions, two MLPs and experts beside them"),
    ),
)  # fmt: skip

_HYBRIDS: tuple[Family, ...] = (
    _row("Mamba", "mamba", _STATE),
    _row("Mamba-2", "mamba2", _STATE),
    _row("Falcon Mamba", "falcon_mamba", _STATE),
    _row("Jamba", "jamba", _FEED_FORWARD, _FINAL_LAYERNORM, mixers=_MAMBA, experts="feed_forward.experts",
         resid_mid="pre_ff_layernorm"),
    _row("Bamba", "bamba", _FEED_FORWARD, _FINAL_LAYERNORM, mixers=_MAMBA, resid_mid="pre_ff_layernorm"),
    # Attention and Mamba read the same stream side by side in every layer; the MLP's factor comes after its projection.
    _row("Falcon-H1", "falcon_h1", _FINAL_LAYERNORM, mlp_down="feed_forward.down_proj", mlp=None,
         resid_mid="pre_ff_layernorm", logit_scale=_times("lm_head_multiplier")),
    _row("Zamba", "zamba", _RESIDUAL_ONLY, _FINAL_LAYERNORM, mixers=_MAMBA, refuses=_BORROWED),
    _row("Zamba 2", "zamba2", _RESIDUAL_ONLY, _FINAL_LAYERNORM, mixers=_MAMBA, refuses=_BORROWED),
    replace(
        _HYBRID_GRANITE,
        name="Granite 4 (hybrid, experts)",
        when=lambda config: config.num_local_experts > 0,
        experts="block_sparse_moe.experts",
        mlp_down=None,
        mlp=None,
        shared_experts="shared_mlp.output_linear",
        refuses=_ADDED_OUTSIDE,
    ),
    _HYBRID_GRANITE,
    # Every layer is one thing: Mamba, attention, an MLP or experts.
    _row(
        "Nemotron-H",
        "nemotron_h",
        embed="model.embeddings",
        final_norm="model.norm_f",
        attn_proj="mixer.o_proj",
        mlp_down="mixer.down_proj",
        mlp="mixer:MoE",
        experts="mixer.experts",
        shared_experts="mixer.shared_experts.down_proj",
        resid_mid=None,
        mixers={"mixer:Mamba": "Mamba (state-space)", "mixer:MLP": "MLP", "mixer:MoE": "mixture-of-experts"},
        refuses={"resid_mid": "a layer is either attention or MLP, so there is no stream between them"},
    ),
    _row("LFM2", "lfm2", mixers=_CONV, final_norm="model.embedding_norm", attn_proj="self_attn.out_proj",
         mlp_down="feed_forward.w2", mlp="feed_forward", resid_mid="ffn_norm"),
    _row("LFM2 MoE", "lfm2_moe", mixers=_CONV, final_norm="model.embedding_norm", attn_proj="self_attn.out_proj",
         mlp_down="feed_forward.w2", mlp="feed_forward", experts="feed_forward.experts", resid_mid="ffn_norm"),
    _row("LFM3", "lfm3", mixers=_CONV, final_norm="model.embedding_norm",
         mlp_down="feed_forward.w2", mlp="feed_forward", resid_mid="ffn_norm"),
    _row("Qwen3-Next", "qwen3_next", _SHARED_ONE, _OFFSET, mixers=_DELTA),
    _row("Qwen3.5", "qwen3_5_text", _OFFSET, mixers=_DELTA),
    _row("Qwen3.5 MoE", "qwen3_5_moe_text", _SHARED_ONE, _OFFSET, mixers=_DELTA),
    _row("OLMo hybrid", "olmo_hybrid", mixers=_DELTA, resid_mid=("post_attention_layernorm:LinearAttention", "mlp")),
    _row("Kimi Linear", "kimi_linear", _SHARED, mixers={"self_attn:Delta": "linear-attention (gated delta rule)"}),
    _row(
        "RecurrentGemma",
        "recurrent_gemma",
        _OFFSET,
        final_norm="model.final_norm",
        softcap="logits_soft_cap",
        attn_proj="temporal_block.o_proj",
        mlp_down="mlp_block.down_proj",
        mlp="mlp_block",
        resid_mid="channel_pre_norm",
        mixers={"temporal_block:RecurrentBlock": "recurrent (RG-LRU)"},
        refuses={"left_padding": _LEAKS},
    ),
    _row(
        "RWKV",
        "rwkv",
        blocks="rwkv.blocks",
        embed="rwkv.embeddings",
        final_norm="rwkv.ln_out",
        head="head",
        attn_proj=None,
        mlp_down=None,
        mlp="feed_forward",
        resid_mid="ln2",
        mixers={"attention": "linear-attention (RWKV)"},
        refuses={
            "mlp_post": "what its neurons write goes through one more gate before it reaches the stream",
            "left_padding": _LEAKS,
            "generate": "it hands on a state of its own instead of a cache",
        },
    ),
)  # fmt: skip

FAMILIES: tuple[Family, ...] = (*_DENSE, *_MIXTURES, *_HYBRIDS)
