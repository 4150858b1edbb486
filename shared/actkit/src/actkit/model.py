"""A Hugging Face causal LM as it is, with eyes and hands: what every other module of actkit works on."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from actkit import experts
from actkit.batch import Batch, Pad, pad_rows
from actkit.captured import Origin, Run
from actkit.decode import Adjust, Generation, Step, generate
from actkit.edits import Edit
from actkit.errors import LoadError, NoTokenizer, PromptError, UnknownSite
from actkit.families import Family, find, first_of
from actkit.probing import probed_family
from actkit.run import Logits, OnCapture, Patterns, run
from actkit.sampling import Sampling
from actkit.sites import Site, blocks_of, expand, sites_of
from actkit.stopping import Ending

Prompts = Sequence[str] | Sequence[Sequence[int]] | Int[Tensor, "B T"]


class Dims(NamedTuple):
    """A model's sizes. `d_mlp` counts neurons per layer (per expert in a mixture of experts)."""

    layers: int
    d_model: int
    heads: int
    kv_heads: int
    d_head: int
    d_mlp: int
    vocab: int


class Model:
    """A causal LM that can be looked into and edited. The wrapped `hf` model is never changed.

    `hf`, `tokenizer` (None when it has none), `family`, `dims`, `context` (most tokens a text may have, or None),
    `sites` (name -> Site), `blocks`, `head`, `device`.
    """

    def __init__(self, hf: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        self.hf = hf
        self.tokenizer = tokenizer
        if hf.get_output_embeddings() is None:
            raise LoadError(f"{type(hf).__name__} has no language-model head.", "Load its ...ForCausalLM.")
        self.family: Family = find(hf.config) or probed_family(hf)
        self.sites = sites_of(hf, self.family)
        self.blocks = blocks_of(hf, self.family)
        self.head: Any = hf.get_submodule(self.family.head)
        self.dims = _dims(self)
        longest = first_of(hf.config, "max_position_embeddings", "max_seq_len")
        self.context: int | None = None if getattr(hf.config, "alibi", False) else longest

        self._found: dict[tuple[str, ...], list[Site]] = {}

    def find(self, patterns: str | Iterable[str]) -> list[Site]:
        """The sites meant by names or globs, in forward order and each once. Raises UnknownSite."""
        key = (patterns,) if isinstance(patterns, str) or not isinstance(patterns, Iterable) else tuple(patterns)
        if wrong := [name for name in key if not isinstance(name, str)]:
            raise UnknownSite(f"Sites are names or globs, not {wrong[0]!r}.", 'For example "resid_post.*".')
        if key not in self._found:
            self._found[key] = expand(key, self.sites, self.family)
        return self._found[key]

    def __repr__(self) -> str:
        return f"Model({self.family.name}, {self.dims})"

    @property
    def origin(self) -> Origin:
        """What runs of this model remember of it."""
        return Origin(self.family.name, self.tokenizer)

    @property
    def device(self) -> torch.device:
        """Where the token ids must be: with the embedding, or where accelerate runs it when it keeps it elsewhere."""
        embed: Any = self.sites["embed"].module
        placed = getattr(getattr(embed, "_hf_hook", None), "execution_device", None)
        return embed.weight.device if placed is None else torch.device(placed)

    @property
    def pad_id(self) -> int:
        """An id to fill padding slots with: the tokenizer's or model's own where it has one inside the vocabulary."""
        own = first_of(self.hf.config, "pad_token_id", "eos_token_id")
        ids = [getattr(self.tokenizer, "pad_token_id", None), own[0] if isinstance(own, list) else own]
        return next((i for i in ids if i is not None and 0 <= i < self.dims.vocab), 0)

    def tokenize(self, prompts: Prompts) -> list[list[int]]:
        """Token ids of each prompt (text gets the tokenizer's own special tokens; ids stay as they are).

        Raises PromptError for an empty prompt or ids outside the vocabulary, NoTokenizer for text without a tokenizer.
        """
        rows: list[Any] = prompts.tolist() if isinstance(prompts, Tensor) else list(prompts)
        if isinstance(prompts, str) or not rows:
            raise PromptError("encode takes a non-empty list of prompts.", "Put a single prompt into a list.")
        if isinstance(rows[0], str):
            if self.tokenizer is None:
                raise NoTokenizer("This model has no tokenizer, so it cannot read text.", "Pass lists of token ids.")
            _refuse([i for i, row in enumerate(rows) if not isinstance(row, str)], "not text, as the first one is")
            rows = self.tokenizer(rows, verbose=False)["input_ids"]
        _refuse([i for i, row in enumerate(rows) if not _whole(row)], "neither text nor a list of token ids")
        rows = [[int(i) for i in row] for row in rows]
        _refuse([i for i, row in enumerate(rows) if not row], "empty")
        _refuse([i for i, row in enumerate(rows) if min(row) < 0 or max(row) >= self.dims.vocab], "out of vocabulary")
        return rows

    def too_long(self, rows: Sequence[Sequence[int]], extra: int = 0) -> list[int]:
        """Numbers of the rows that, with `extra` tokens more, do not fit the model's context."""
        return [] if self.context is None else [i for i, row in enumerate(rows) if len(row) + extra > self.context]

    def encode(self, prompts: Prompts, *, pad: Pad = "left") -> Batch:
        """A padded batch on the model's device, from texts, lists of ids, or a [B, T] tensor of ids without padding.

        Raises PromptError, whose `rows` names the faulty rows, for empty prompts and for ones longer than the context.
        """
        if pad not in ("left", "right"):
            raise PromptError(f"pad must be 'left' or 'right', not {pad!r}.")
        rows = self.tokenize(prompts)
        if long := self.too_long(rows):
            raise PromptError(
                f"{_rows(long)} longer than the model's context of {self.context} tokens: "
                f"{', '.join(str(len(rows[i])) for i in long[:5])} tokens.",
                "Shorten or leave out these prompts, or use a model with a longer context.",
                rows=long,
            )
        return pad_rows(rows, pad_id=self.pad_id, pad=pad).to(self.device)

    def run(
        self,
        batch: Batch,
        *,
        capture: Patterns = (),
        edits: Iterable[Edit] = (),
        logits: Logits = "last",
        grad: bool = False,
        to: torch.device | torch.dtype | str | None = None,
        on_capture: OnCapture | None = None,
    ) -> Run:
        """One forward pass of the Hugging Face model itself.

        `capture`: site names or globs. `logits`: at each row's last real token, everywhere, or not at all; in the
        last case the pass ends after the last layer asked for. Hugging Face's logits at the last token differ in
        rounding from those it computes at every token; the latter are used when the site `logits` is asked for too.
        `grad`: keep the graph, for `Run.grads`. `to`: device or dtype captures are moved to. With `on_capture` each
        capture is handed over, by site name, as soon as it is there, and not kept.
        Raises UnknownSite, NeverFired, EditError. Nothing is left behind, also after an exception.
        """
        return run(self, batch, capture=capture, edits=edits, logits=logits, grad=grad, to=to, on_capture=on_capture)

    def generate(
        self,
        batch: Batch,
        *,
        capture: Patterns = (),
        edits: Iterable[Edit] = (),
        max_new_tokens: int,
        stop: str | Sequence[str] = (),
        on_step: Callable[[Step], None] | None = None,
        adjust: Adjust | None = None,
        eos: bool = True,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | Sequence[int] = 0,
    ) -> Generation:
        """Decode with the model's KV cache; greedy unless `temperature` > 0. Rows that finish leave the batch.

        A row ends at an end-of-text token (unless `eos` is False), at a stop string (its text is cut there), after
        `max_new_tokens`, or at the model's context. `seed`: one, or one per row; a row's draws do not depend on its
        neighbours. `adjust` changes the logits just before a token is chosen by them; it is given those of the rows
        still active, with their original numbers. With `on_step` captures are handed over step by step and not kept;
        without, `Generation.run` holds them for the whole finished text. Edits' `pos` is the absolute position in that
        text.
        Raises UnknownSite, NeverFired, EditError, PromptError, NoTokenizer (stop strings without a tokenizer).
        """
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        ending = Ending(self, max_new_tokens=max_new_tokens, stops=stops, eos=eos)
        sampling = Sampling(temperature, top_p, seed)
        return generate(
            self, batch, capture=capture, edits=edits, ending=ending, sampling=sampling, on_step=on_step, adjust=adjust
        )

    def value_vectors(self, layer: int) -> Float[Tensor, "*E N D"]:
        """Row i is what neuron i of this layer writes per unit of activation: a view of the down projection.

        In a layer of experts [E, N, D], per unit of activation and routing weight. Raises UnknownSite where the layer
        has no `mlp_post`, or does not exist.
        """
        if not 0 <= layer < self.dims.layers:
            raise UnknownSite(f"No layer {layer}: the model has layers 0 to {self.dims.layers - 1}.")
        (site,) = self.find(f"mlp_post.{layer}")
        if site.tap.side == "inside":
            return experts.value_vectors(site.module)
        down: Any = site.module
        weight = held(down.weight)
        return weight if isinstance(down, Conv1D) else weight.T

    def unembed(self, resid: Float[Tensor, "*b D"], *, norm: bool = True, capped: bool = True) -> Float[Tensor, "*b V"]:
        """Logits of a residual stream: final norm (unless `norm` is False), head, the family's scale and soft cap."""
        x = resid
        if norm and self.family.final_norm:
            x = self.hf.get_submodule(self.family.final_norm)(x)
        logits = self.head(self.project_out(x))
        if self.family.logit_scale:
            logits = logits * self.family.logit_scale(self.hf.config)
        cap = getattr(self.hf.config, self.family.softcap, None) if capped and self.family.softcap else None
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def project_out(self, x: Float[Tensor, "*b D"]) -> Float[Tensor, "*b E"]:
        """What lies between final norm and head: nothing, but for OPT-350m's projection to its embedding width."""
        parent, _, name = (self.family.project_out or "").rpartition(".")
        projection = getattr(self.hf.get_submodule(parent), name, None) if name else None
        return x if projection is None else projection(x)

    def norm_gain(self) -> tuple[Float[Tensor, " D"] | None, bool]:
        """The final norm's gain (None without one), and whether that norm subtracts the mean."""
        if self.family.final_norm is None:
            return None, False
        norm: Any = self.hf.get_submodule(self.family.final_norm)
        weight = getattr(norm, "weight", None)
        place = self.head.weight if weight is None else weight
        ramp = torch.linspace(-1, 1, self.dims.d_model, dtype=place.dtype, device=place.device)
        gain = torch.ones_like(ramp) if weight is None else held(weight) + self.family.norm_offset
        with torch.no_grad():
            return gain, torch.allclose(norm(ramp), norm(ramp + 1), atol=0.05)


def held(weight: Tensor) -> Tensor:
    """The weight itself. Raises LoadError when it is elsewhere, offloaded to memory or disk."""
    if weight.is_meta:
        raise LoadError("This weight is offloaded, so it cannot be read.", "Load the model onto one device.")
    return weight


def _dims(model: Model) -> Dims:
    config, family = model.hf.config, model.family
    attn = next((part for block in model.blocks if (part := family.part(block, "attn_proj"))), None)
    heads = first_of(config, "num_attention_heads") if any(family.path(b, "attn") for b in model.blocks) else 0
    return Dims(
        layers=len(model.blocks),
        d_model=config.hidden_size,
        heads=heads,
        kv_heads=_kv_heads(config, heads) if heads else 0,
        d_head=_fan_in(attn) // heads if attn is not None else (heads and first_of(config, "head_dim", "kv_channels")),
        d_mlp=_d_mlp(model),
        vocab=model.head.weight.shape[0],
    )


def _d_mlp(model: Model) -> int:
    """Of the first layer with a dense MLP; without one, of the first with experts; 0 without any."""
    first = next((site for site in model.sites.values() if site.kind == "mlp_post" and site.tap.side == "input"), None)
    if first is not None:
        return _fan_in(first.module)
    mixed = next((site for site in model.sites.values() if site.kind == "mlp_post"), None)
    return experts.value_vectors(mixed.module).shape[1] if mixed else 0


def _kv_heads(config: Any, heads: int) -> int:
    """Key and value heads, in the words of the configuration's family."""
    if config.model_type == "gpt_bigcode" or (config.model_type == "falcon" and not config.new_decoder_architecture):
        return 1 if config.multi_query else heads
    nested = getattr(config, "attn_config", None)
    return first_of(config, "num_key_value_heads", "num_kv_heads") or getattr(nested, "kv_n_heads", None) or heads


def _fan_in(linear: Any) -> int:
    return linear.weight.shape[0] if isinstance(linear, Conv1D) else linear.in_features


def _whole(row: Any) -> bool:
    """Whether a row is a list of whole numbers."""
    listed = isinstance(row, Iterable) and not isinstance(row, str | bytes)
    return listed and all(hasattr(i, "__index__") and not isinstance(i, bool) for i in row)


def _refuse(rows: list[int], what: str) -> None:
    if rows:
        raise PromptError(f"{_rows(rows)} {what}.", rows=rows)


def _rows(rows: list[int]) -> str:
    shown = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
    return f"row {shown} is" if len(rows) == 1 else f"rows {shown} ({len(rows)} in all) are"
