"""What the `cfg.json` of SAELens says, in its spellings of before and since version 6, checked against the model."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import actkit
import orjson
import torch
from runkit.errors import DataError, nearest

NAME = "cfg.json"
ARCHITECTURES = ("standard", "topk", "jumprelu", "gated")
NORMS = ("none", "layer_norm", "constant_norm_rescale")
_ACTIVATIONS = ("relu", "tanh-relu", "topk")
_DTYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_HOOKS = {
    "hook_resid_pre": "resid_pre", "hook_resid_mid": "resid_mid", "hook_resid_post": "resid_post",
    "mlp.hook_post": "mlp_post", "hook_mlp_out": "mlp_out", "attn.hook_z": "attn_z", "hook_attn_out": "attn_out",
}  # fmt: skip
"""TransformerLens' names below blocks.L, as far as they mean what a site of actkit means."""
_POST_NORMS = ("post_feedforward_layernorm", "post_mlp_layernorm")
"""What families call a norm behind the MLP; they have one behind attention too."""


class Sae(NamedTuple):
    """One autoencoder. `centred`: the decoder's bias is taken from the input; `by_decoder_norm`: see SAELens' TopK."""

    path: Path
    architecture: str
    site: str
    layer: int
    d_in: int
    d_sae: int
    dtype: torch.dtype
    centred: bool
    norm: str
    activation: str
    k: int
    by_decoder_norm: bool


def parsed(path: Path, model: actkit.Model) -> Sae:
    """What a configuration says.

    Raises:
        DataError: names file and field where it asks for what is not served, or for a place the model has not.
    """
    fields = _Fields(path)
    site, layer = _place(fields, model)
    architecture = fields.one_of(ARCHITECTURES, "standard", "architecture")
    activation = fields.one_of(_ACTIVATIONS, "relu", "activation_fn_str", "activation_fn")
    activation = "topk" if architecture == "topk" else activation
    kwargs = fields.get({}, "activation_fn_kwargs") or {}
    found = Sae(
        path, architecture, site, layer, fields.count("d_in"), fields.count("d_sae"), _dtype(fields),
        bool(fields.get(True, "apply_b_dec_to_input")), _norm(fields), activation,
        fields.count("k", kwargs.get("k")) if activation == "topk" else 0,
        architecture == "topk" and bool(fields.get(False, "rescale_acts_by_decoder_norm")),
    )  # fmt: skip
    if found.k > found.d_sae:
        raise fields.wrong("k", f"at most d_sae = {found.d_sae}", found.k)
    return found


class _Fields:
    """The fields of a configuration; what is said of the model may lie below `metadata`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fields: dict[str, Any] = orjson.loads(path.read_bytes())
            inner = self._fields.get("metadata") or self._fields.get("meta") or {}
            self._fields = {**inner, **self._fields}
        except (orjson.JSONDecodeError, AttributeError, TypeError) as error:
            raise DataError(f"{path} is no configuration of SAELens: expected a JSON object ({error})") from None

    def get(self, default: Any, *names: str) -> Any:
        """The first of these fields that is there."""
        return next((self._fields[name] for name in names if name in self._fields), default)

    def one_of(self, known: tuple[str, ...], default: str, *names: str) -> str:
        """A word among those served."""
        found = self.get(default, *names)
        if found not in known:
            raise self.wrong(names[0], f"one of {', '.join(known)}", found)
        return found

    def count(self, name: str, default: Any = None) -> int:
        """A number of at least 1."""
        found = self.get(default, name)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise self.wrong(name, "a whole number of at least 1", found)
        return found

    def wrong(self, name: str, expected: str, found: Any) -> DataError:
        """The error for a field."""
        return DataError(f"{self.path}, field {name!r}: expected {expected}, found {found!r}")


def _dtype(fields: _Fields) -> torch.dtype:
    name = str(fields.get("float32", "dtype")).removeprefix("torch.")
    if name not in _DTYPES:
        raise fields.wrong("dtype", f"one of {', '.join(_DTYPES)}", name)
    return _DTYPES[name]


def _norm(fields: _Fields) -> str:
    found = fields.get("none", "normalize_activations")
    if found is True or found == "expected_average_only_in":
        raise DataError(
            f"{fields.path}, field 'normalize_activations': {found!r} means that inputs were scaled by a factor that "
            "these files do not hold; fold it into the weights first (SAELens: fold_activation_norm_scaling_factor)"
        )
    if (found or "none") not in NORMS:
        raise fields.wrong("normalize_activations", f"one of {', '.join(NORMS)}", found)
    return found or "none"


def _place(fields: _Fields, model: actkit.Model) -> tuple[str, int]:
    """The site that is encoded, and its layer."""
    hook = str(fields.get(None, "hook_name", "hook_point"))
    if fields.get(None, "hook_head_index", "hook_point_head_index") is not None:
        raise DataError(f"{fields.path}, field 'hook_head_index': autoencoders of a single head are not served")
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", hook)
    of_block = re.fullmatch(re.escape(model.family.blocks) + r"\.(\d+)", hook)
    if of_block is not None:
        kind, layer = "resid_post", int(of_block[1])
    elif match is not None and match[2] in _HOOKS:
        kind, layer = _HOOKS[match[2]], int(match[1])
    else:
        raise fields.wrong("hook_name", f"blocks.L. and one of {', '.join(_HOOKS)}", hook)
    if f"{kind}.{layer}" not in model.sites:
        raise DataError(f"{fields.path}: {hook} is {kind}.{layer}, and the model has no such site; "
                        f"{nearest(f'{kind}.{layer}', model.sites)}")  # fmt: skip
    if kind in ("mlp_out", "attn_out") and any(hasattr(model.blocks[layer], name) for name in _POST_NORMS):
        raise DataError(f"{fields.path}: {hook} lies behind a norm that {model.family.name} puts there; "
                        f"{kind}.{layer} lies before it, so these latents cannot be had")  # fmt: skip
    return f"{kind}.{layer}", layer
