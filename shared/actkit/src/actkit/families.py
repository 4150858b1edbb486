"""The families of causal LMs actkit can look inside: one row of facts per family, and nothing else to write.

A row says where a Hugging Face architecture keeps its parts. Paths are relative to the model, or to a block where
the comment says so. Facts come from the modelling code of transformers 5.23.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from transformers import PreTrainedConfig

from actkit.errors import UnknownFamily


class Tap(NamedTuple):
    """Where a kind of site is read: a module's input or output, `path` relative to the block ("" is the block)."""

    path: str
    side: str
    in_place: bool = False
    """Write an edit into the very tensor: the block has kept another reference to it as its residual."""
    per_head: bool = False
    clone: bool = False
    """The block overwrites the tensor later in its forward, so a capture must copy it."""


def _always(_config: PreTrainedConfig) -> bool:
    return True


@dataclass(frozen=True)
class Family:
    """Where one Hugging Face architecture keeps its parts."""

    name: str
    model_type: str
    """`config.model_type` of the checkpoints this row describes."""
    when: Callable[[PreTrainedConfig], bool] = _always
    """Which configurations of that type the row describes; the first matching row of the table is taken."""
    blocks: str = "model.layers"
    embed: str = "model.embed_tokens"
    final_norm: str | None = "model.norm"
    project_out: str | None = None
    """Linear map between the final norm and the head (OPT-350m)."""
    head: str = "lm_head"
    attn_proj: str = "self_attn.o_proj"
    """In the block: the attention's output projection. Its input is `attn_z`, its output `attn_out`."""
    mlp_down: str | None = "mlp.down_proj"
    """In the block: the MLP's down projection. Its input is `mlp_post`; None where there is no such module."""
    mlp: str | None = None
    """In the block: the module whose output is `mlp_out`, before any post-norm. None: `mlp_down` itself."""
    resid_mid: str | None = "post_attention_layernorm"
    """In the block: the module whose input is the stream between attention and MLP. None: they run in parallel."""
    norm_offset: float = 0.0
    """The final norm's gain is `norm_offset + weight`."""
    softcap: str | None = None
    """Config field with the cap c of `c * tanh(logits / c)`."""
    overwrites: frozenset[str] = frozenset()
    """Kinds of sites whose tensor the block overwrites in place after it was produced."""
    refuses: dict[str, str] = field(default_factory=dict, hash=False)
    """Kinds of sites that do not exist here, and why."""

    def taps(self) -> dict[str, Tap]:
        """Kind of site -> where a block gives it."""
        found = {
            "resid_pre": Tap("", "input"),
            "attn_z": Tap(self.attn_proj, "input", per_head=True),
            "attn_out": Tap(self.attn_proj, "output"),
            "resid_mid": Tap(self.resid_mid, "input", in_place=True) if self.resid_mid else None,
            "mlp_post": Tap(self.mlp_down, "input") if self.mlp_down else None,
            "mlp_out": Tap(self.mlp or self.mlp_down or "", "output"),
            "resid_post": Tap("", "output"),
        }
        return {kind: tap._replace(clone=kind in self.overwrites) for kind, tap in found.items() if tap}


_PARALLEL = {"resid_mid": "attention and MLP read the same stream in parallel, so there is no stream between them"}
_EXPERTS = {
    "mlp_post": "its MLP is a mixture of experts whose weights are 3-D parameters, not one down projection per layer"
}

_LLAMA = Family("Llama", "llama")
_GEMMA2 = replace(
    _LLAMA,
    name="Gemma 2",
    model_type="gemma2",
    resid_mid="pre_feedforward_layernorm",
    norm_offset=1.0,
    softcap="final_logit_softcapping",
)
_OPT = Family(
    "OPT",
    "opt",
    when=lambda config: config.do_layer_norm_before,
    blocks="model.decoder.layers",
    embed="model.decoder.embed_tokens",
    final_norm="model.decoder.final_layer_norm",
    project_out="model.decoder.project_out",
    attn_proj="self_attn.out_proj",
    mlp_down="fc2",
    resid_mid="final_layer_norm",
)
_NEOX = Family(
    "GPT-NeoX",
    "gpt_neox",
    when=lambda config: config.use_parallel_residual,
    blocks="gpt_neox.layers",
    embed="gpt_neox.embed_in",
    final_norm="gpt_neox.final_layer_norm",
    attn_proj="attention.dense",
    mlp_down="mlp.dense_4h_to_h",
    resid_mid=None,
    refuses=_PARALLEL,
)
_FALCON = Family(
    "Falcon",
    "falcon",
    when=lambda config: config.parallel_attn or config.new_decoder_architecture,
    blocks="transformer.h",
    embed="transformer.word_embeddings",
    final_norm="transformer.ln_f",
    attn_proj="self_attention.dense",
    mlp_down="mlp.dense_4h_to_h",
    resid_mid=None,
    overwrites=frozenset({"mlp_out"}),
    refuses=_PARALLEL,
)

FAMILIES: tuple[Family, ...] = (
    _LLAMA,
    replace(_LLAMA, name="Mistral", model_type="mistral"),
    replace(_LLAMA, name="Qwen2", model_type="qwen2"),
    replace(_LLAMA, name="Qwen3", model_type="qwen3"),
    replace(_LLAMA, name="Phi-3", model_type="phi3"),
    _GEMMA2,
    replace(_GEMMA2, name="Gemma 3", model_type="gemma3_text"),
    # OLMo 2 norms what attention and MLP give back, not what they take: the MLP's own input is the stream.
    replace(_LLAMA, name="OLMo 2", model_type="olmo2", resid_mid="mlp"),
    replace(_LLAMA, name="Mixtral", model_type="mixtral", mlp_down=None, mlp="mlp", refuses=_EXPERTS),
    Family(
        "GPT-2",
        "gpt2",
        blocks="transformer.h",
        embed="transformer.wte",
        final_norm="transformer.ln_f",
        attn_proj="attn.c_proj",
        mlp_down="mlp.c_proj",
        resid_mid="ln_2",
    ),
    _OPT,
    # The 350M model norms after each part, has no final norm, and projects to a narrower embedding.
    replace(_OPT, name="OPT (post-norm)", when=_always, final_norm=None, resid_mid="fc1"),
    _NEOX,
    replace(_NEOX, name="GPT-NeoX (serial)", when=_always, resid_mid="post_attention_layernorm", refuses={}),
    _FALCON,
    replace(
        _FALCON,
        name="Falcon (serial)",
        when=_always,
        resid_mid="post_attention_layernorm",
        overwrites=frozenset(),
        refuses={},
    ),
)


def family_of(config: PreTrainedConfig) -> Family:
    """The row that describes models of this configuration. Raises UnknownFamily, naming the known ones."""
    for family in FAMILIES:
        if family.model_type == config.model_type and family.when(config):
            return family
    known = sorted({family.model_type for family in FAMILIES})
    raise UnknownFamily(
        f"actkit does not know the architecture {config.model_type!r}.",
        f"Known ones: {', '.join(known)}. A new one is one row in actkit/families.py.",
    )


def first_of(config: PreTrainedConfig, *names: str) -> Any:
    """The first of these configuration fields that is set, or None: families spell the same fact differently."""
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)
