"""What one family is: the facts actkit needs to find a Hugging Face architecture's parts, and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import nn
from transformers import PreTrainedConfig

Paths = str | tuple[str, ...] | None
"""A module's path inside a block, or several of which the first that exists in a block is meant: layers can differ.

"path:Word" exists only where the class of the module or of the block has that word in its name.
"""


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
    """Where one Hugging Face architecture keeps its parts. The defaults are Llama's."""

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
    attn_proj: Paths = "self_attn.o_proj"
    """In the block: the attention's output projection. Its input is `attn_z`, its output `attn_out`."""
    attn: Paths = None
    """In the block: the attention module. None: the module that holds `attn_proj`."""
    mlp_down: Paths = "mlp.down_proj"
    """In the block: the MLP's down projection. Its input is `mlp_post`; None where there is no such module."""
    mlp: Paths = "mlp"
    """In the block: the module whose output is `mlp_out`, before any post-norm; `mlp_down` where it does not exist."""
    experts: str | None = None
    """In the block: the module with all experts' 3-D weights, called with (hidden states, expert numbers, weights)."""
    shared_experts: Paths = None
    """In the block: the down projection of the expert that every token goes through. Its input is `shared_post`."""
    resid_mid: Paths = "post_attention_layernorm"
    """In the block: the module whose input is the stream between attention and MLP. None: they run in parallel."""
    mixers: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Path in the block -> what a layer with that module in place of attention is called."""
    norm_offset: float = 0.0
    """The final norm's gain is `norm_offset + weight`."""
    softcap: str | None = None
    """Config field with the cap c of `c * tanh(logits / c)`."""
    logit_scale: Callable[[Any], float] | None = None
    """Of the config: what the model multiplies its head's output with."""
    overwrites: frozenset[str] = frozenset()
    """Kinds of sites whose tensor the block overwrites in place after it was produced."""
    refuses: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What is not to be had, and why: kinds of sites that exist in no layer, "left_padding", "generate"."""
    cache: str = "past_key_values"
    """What the model's forward calls its cache."""

    def part(self, block: nn.Module, fact: str) -> Any:
        """The block's module that a field of this row, such as "mlp_down", names; None where the block has none."""
        path = self.path(block, fact)
        return None if path is None else block.get_submodule(path)

    def path(self, block: nn.Module, fact: str) -> str | None:
        """As `part`, but the module's path in the block."""
        if fact in ("attn_proj", "attn") and self.mixer(block) is not None:
            return None
        if fact == "attn" and self.attn is None:
            projection = resolve(block, self.attn_proj)
            return None if projection is None else projection.rpartition(".")[0]
        return resolve(block, getattr(self, fact))

    def taps(self, block: nn.Module) -> dict[str, Tap]:
        """Kind of site -> where this block gives it, in the order a forward reaches them."""
        written = "mlp_down" if self.path(block, "mlp") is None else "mlp"
        found = {
            "resid_pre": Tap("", "input"),
            "attn_z": self._tap(block, "attn_proj", "input", per_head=True),
            "attn_out": self._tap(block, "attn_proj", "output"),
            "resid_mid": self._tap(block, "resid_mid", "input", in_place=True),
            "shared_post": self._tap(block, "shared_experts", "input"),
            "mlp_post": self._tap(block, "mlp_down", "input"),
            "mlp_out": self._tap(block, written, "output"),
            "resid_post": Tap("", "output"),
        }
        return {
            kind: tap._replace(clone=kind in self.overwrites)
            for kind, tap in found.items()
            if tap and kind not in self.refuses
        }

    def _tap(self, block: nn.Module, fact: str, side: str, **how: bool) -> Tap | None:
        path = self.path(block, fact)
        return None if path is None else Tap(path, side, **how)

    def mixer(self, block: nn.Module) -> str | None:
        """What stands in this block in place of attention, in words; None for attention."""
        return next((word for place, word in self.mixers.items() if resolve(block, place) is not None), None)


def resolve(block: nn.Module, paths: Paths) -> str | None:
    """The first of these paths that the block has."""
    for place in (paths,) if isinstance(paths, str) else paths or ():
        path, _, word = place.partition(":")
        module = _at(block, path)
        if module is not None and any(word in type(m).__name__ for m in (module, block)):
            return path
    return None


def _at(block: nn.Module, path: str) -> nn.Module | None:
    try:
        return block.get_submodule(path)
    except AttributeError:
        return None


def first_of(config: PreTrainedConfig, *names: str) -> Any:
    """The first of these configuration fields that is set, or None: families spell the same fact differently."""
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)
