"""Direct logit attribution: what each part of a model wrote towards a logit, exactly additive.

The last residual stream is the sum of what the parts wrote to it, and the logit is linear in that sum once the final
norm's scale is held at its actual value (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits";
nostalgebraist 2020, "interpreting GPT: the logit lens"). So with d the target's unembedding (minus the contrast's)
pulled back through the norm, a part that wrote c contributes c·d. Only direct effects count: what a part changes in
later parts is theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from actkit.captured import Origin, Run
from actkit.errors import ActkitError, UnknownSite
from actkit.frozen import Back, branch, frozen, near, scaled_back
from actkit.model import Model
from actkit.sites import expand
from actkit.tokens import Token, readable, token_id
from actkit.where import Where, find

if TYPE_CHECKING:
    from actkit.plots import Picture

By = Literal["layer", "head", "neuron"]


@dataclass(frozen=True, eq=False)
class Attribution:
    """Contributions to a logit, or a difference of two, at one position of each row, in float32 or better.

    `parts`, whose sum over everything but rows is `logit`, by `by`:
    "layer": embed [B], attn [B, L], mlp [B, L], bias [B]. "head": embed, head [B, L, H], attn_rest [B, L], mlp, bias.
    "neuron": embed, attn, neuron [B, L, N], mlp_rest [B, L], bias.
    `embed` is the stream that enters the first block; `bias` comes from the final norm and the head. The rest is what
    has no head or neuron: biases of projections and norms. A layer with something else in place of attention has it
    under attn (its rest, its heads being 0).
    `logit`: the model's own before any soft cap.
    """

    by: By
    parts: dict[str, Tensor]
    logit: Float[Tensor, " B"]
    targets: Int[Tensor, " B"]
    contrasts: Int[Tensor, " B"] | None
    tokens: list[str]
    """The token at the position, per row: the logit is that of what comes next."""
    origin: Origin

    def table(self, top: int | None = None) -> pl.DataFrame:
        """One line per part, each row's largest contributions of either sign first, `top` per row (default: all).

        Columns: row, part, layer, unit (head or neuron; null for parts without), value, share (of the row's logit).
        """
        frame = pl.concat([_long(name, values, self.logit) for name, values in self.parts.items()])
        ordered = frame.sort("row", pl.col("value").abs(), descending=[False, True], maintain_order=True)
        return ordered if top is None else ordered.group_by("row", maintain_order=True).head(top)

    def plot(self, row: int = 0, *, top: int = 20) -> "Picture":
        """Bars per layer, a map of the heads, or the `top` parts with the neurons among them."""
        from actkit import plots

        if not -len(self.logit) <= row < len(self.logit):
            raise ActkitError(f"There are rows 0 to {len(self.logit) - 1}, not {row}.")
        title = self._title(row)
        values = {name: part[row].cpu().numpy() for name, part in self.parts.items()}
        if self.by == "layer":
            return plots.layer_bars(values, title=title)
        if self.by == "head":
            return plots.head_map(values["head"], title=title)
        best = self.table(top).filter(row=row % len(self.logit))
        return plots.ranked_bars([_label(*line) for line in best.select("part", "layer", "unit").rows()],
                                 best["value"].to_list(), title=title)  # fmt: skip

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {list(values.shape)}" for name, values in self.parts.items())
        return f"Attribution(by={self.by!r}, {sizes})"

    def _title(self, row: int) -> str:
        pair = [self.targets] if self.contrasts is None else [self.targets, self.contrasts]
        words = " − ".join(repr(readable(self.origin.tokenizer, [int(ids[row])])[0]) for ids in pair)
        return f"Logit of {words} after {self.tokens[row]!r}: {float(self.logit[row]):.2f}"


def direct_logit_attribution(
    model: Model,
    run: Run,
    target: Token | Sequence[Token],
    *,
    contrast: Token | Sequence[Token] | None = None,
    by: By = "layer",
    pos: int = -1,
) -> Attribution:
    """What each layer, head or neuron wrote towards the target's logit, or its difference to the contrast's.

    `target`, `contrast`: one token, as text or id, or one per row. `pos`: an index among each row's real tokens, -1 its
    last; the logit is that of the token after it. The run must have captured the streams and what is to be told
    apart; the error for one that did not names them all.

    Raises UnknownSite for sites that were not captured or do not exist, ActkitError for a wrong request and where
    the parts cannot be told apart because they do not add up to the stream.
    """
    if by not in ("layer", "head", "neuron"):
        raise ActkitError(f"by is {by!r}; it must be 'layer', 'head' or 'neuron'.")
    at = _Position(model, run, pos, by)
    ids = [_ids(model, some, len(run.batch)) for some in (target, contrast) if some is not None]
    with torch.no_grad():
        stream = at(f"resid_post.{model.dims.layers - 1}")
        direction, bias = _direction(model, ids, stream)
        parts = _parts(model, at, direction, by)
    parts["bias"] = bias
    logit = (stream * direction).sum(-1) + bias
    return Attribution(by, parts, logit, ids[0], ids[1] if len(ids) > 1 else None, at.tokens, run.origin)


def _ids(model: Model, tokens: Token | Sequence[Token], rows: int) -> Int[Tensor, " B"]:
    some = [tokens] * rows if isinstance(tokens, str | int) else list(tokens)
    if len(some) != rows:
        raise ActkitError(f"{len(some)} tokens for {rows} rows.", "Give one token, or one per row.")
    return torch.tensor([token_id(model, token) for token in some])


_KINDS: dict[By, str] = {"layer": "", "head": "attn_z", "neuron": "mlp_post"}


class _Position:
    """Captures of a run at one position of each row, in float32 or better: `at(name)` is [B, ...]."""

    def __init__(self, model: Model, run: Run, pos: int, by: By) -> None:
        if by != "layer":
            expand(f"{_KINDS[by]}.*", model.sites, model.family)  # which says why where there are none
        kinds = ["resid_mid", "resid_post", "attn_out", "mlp_out", *([_KINDS[by]] if by != "layer" else [])]
        missing = [s.name for s in model.sites.values() if s.kind in kinds and s.name not in run]
        if missing or "resid_pre.0" not in run:
            globs = [
                "resid_pre.0",
                *(f"{kind}.*" for kind in kinds if any(s.kind == kind for s in model.sites.values())),
            ]
            raise UnknownSite(
                f"Attribution by {by} needs sites this run did not capture, such as {([*missing, 'resid_pre.0'])[0]}.",
                f"Run with capture={globs}.",
            )
        found, self.columns = find(Where(pos=(pos,)), torch.arange(len(run.batch)), *_places(run))
        if len(found) != len(run.batch):
            raise ActkitError(f"Position {pos} is not in every row: they have {run.batch.lengths.tolist()} tokens.")
        self._run = run
        self.dtype = torch.promote_types(model.hf.dtype, torch.float32)
        ids = run.batch.input_ids.cpu()[found, self.columns]
        self.tokens = readable(run.origin.tokenizer, ids.tolist())

    def __call__(self, name: str) -> Float[Tensor, "B *rest"]:
        values = self._run[name].detach()
        rows = torch.arange(len(values), device=values.device)
        return values[rows, self.columns.to(values.device)].to(self.dtype)

    def has(self, name: str) -> bool:
        """Whether the model has this site; that it was captured is certain then."""
        return name in self._run


def _places(run: Run) -> tuple[Tensor, Tensor]:
    return run.batch.positions.cpu(), run.batch.lengths.cpu()


def _direction(model: Model, ids: list[Tensor], stream: Float[Tensor, "B D"]) -> tuple[Tensor, Tensor]:
    """[B, D] whose product with the last stream is the logit (minus the second's), but for a constant, [B]."""
    x, norm = stream, None
    if model.family.final_norm is not None:
        norm = frozen(model.hf.get_submodule(model.family.final_norm), stream)
        if norm is None:
            raise ActkitError(f"The final norm of {model.family.name} is neither a LayerNorm nor an RMSNorm.")
        x = norm(stream)
    pairs = [_row(model, some, x) for some in ids]
    direction, bias = (both[0] if len(both) == 1 else both[0] - both[1] for both in zip(*pairs, strict=True))
    return (direction, bias) if norm is None else (norm.back(direction), bias + (norm.shift * direction).sum(-1))


def _row(model: Model, ids: Int[Tensor, " B"], x: Float[Tensor, "B D"]) -> tuple[Tensor, Tensor]:
    """[B, D] whose product with the normed stream is the token's logit, but for a constant, [B]."""

    def logit(x: Tensor) -> Tensor:
        return model.unembed(x, norm=False, capped=False).gather(-1, ids.to(x.device)[:, None])[:, 0]

    zero = torch.zeros_like(x, dtype=model.hf.dtype)
    constant, row = scaled_back(logit, zero)
    if not near(logit(x.to(zero)), constant + (x.to(zero) * row).sum(-1), x.norm() * row.norm(), model.hf.dtype):
        raise ActkitError(f"Between the final norm and the logits of {model.family.name} lies more than a linear map.")
    return row.to(x), constant.to(x)


def _parts(model: Model, at: _Position, direction: Float[Tensor, "B D"], by: By) -> dict[str, Tensor]:
    """Contributions of everything but the bias, in the shapes `Attribution` tells."""
    stream = at("resid_pre.0")
    columns: dict[str, list[Tensor]] = {}
    parts = {"embed": _dot(stream, direction)}
    for layer in range(model.dims.layers):
        for name, values in _layer(model, at, layer, stream, direction, by).items():
            columns.setdefault(name, []).append(values.to(direction.device))
        stream = at(f"resid_post.{layer}")
    return {**parts, **{name: torch.stack(values, 1) for name, values in columns.items()}}


def _layer(
    model: Model, at: _Position, layer: int, pre: Float[Tensor, "B D"], direction: Float[Tensor, "B D"], by: By
) -> dict[str, Tensor]:
    """Contributions of one layer: of its attention and its MLP, or of the parts of one of them and its rest."""
    post = at(f"resid_post.{layer}")
    pre, direction = pre.to(post), direction.to(post)
    attn = _by_attention(at, layer, pre, post)
    written = {"attn": attn, "mlp": post - pre - attn}
    found: dict[str, Tensor] = {}
    for kind, unit in (("attn", "head"), ("mlp", "neuron")):
        back = _checked(model, at, f"{kind}_out.{layer}", written[kind], post)
        whole = _dot(written[kind], direction)
        if by != unit:
            found[kind] = whole
            continue
        found[unit] = _units(model, at, layer, unit, back(direction))
        found[f"{kind}_rest"] = whole - found[unit].sum(-1)
    return found


def _by_attention(at: _Position, layer: int, pre: Float[Tensor, "B D"], post: Float[Tensor, "B D"]) -> Tensor:
    """What a layer's attention wrote, or what stands in its place; in some models a layer is one of the two parts."""
    if at.has(f"resid_mid.{layer}"):
        return at(f"resid_mid.{layer}") - pre
    if not at.has(f"mlp_out.{layer}"):
        return post - pre
    return at(f"attn_out.{layer}") if at.has(f"attn_out.{layer}") else torch.zeros_like(post)


def _checked(model: Model, at: _Position, name: str, written: Tensor, stream: Tensor) -> Back:
    """How directions are pulled back from the stream to this part's output. Raises ActkitError when that is unknown."""
    if not at.has(name):  # a layer without attention: what its mixer wrote is told, and not taken apart
        return lambda direction: direction
    layer = model.blocks[int(name.partition(".")[2])]
    back = branch(layer, at(name), written.to(at(name)), stream.norm(), model.hf.dtype)
    if back is None:
        raise ActkitError(
            f"{name} of {model.family.name} is not added to the stream, neither as it is nor times a number or through "
            "a norm, so the logit is no sum of the parts.",
            "Some models norm or scale the stream itself after each part. An edit of the stream has the same effect.",
        )
    return back


def _units(model: Model, at: _Position, layer: int, unit: str, direction: Float[Tensor, "B D"]) -> Float[Tensor, "B n"]:
    """Contributions of a layer's heads or neurons: each activation times what its weights write along the direction."""
    kind, out = ("attn_z", f"attn_out.{layer}") if unit == "head" else ("mlp_post", f"mlp_out.{layer}")
    site = model.sites.get(f"{kind}.{layer}")
    if site is None:
        return direction.new_zeros(len(direction), model.dims.heads if unit == "head" else model.dims.d_mlp)
    if site.tap.side == "inside":
        raise UnknownSite(
            f"The neurons of layer {layer} of {model.family.name} are experts'.", "Use by='layer' or 'head'."
        )
    x = at(site.name)
    result, back = scaled_back(site.module, x.flatten(1), direction)
    if not near(result, at(out), result.norm() + x.norm(), model.hf.dtype):
        raise ActkitError(f"{out} is not {site.name} through its projection: an edit, or another part, changed it.")
    products = x * back.view_as(x)
    return products.sum(-1) if unit == "head" else products


def _dot(x: Float[Tensor, "B D"], direction: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    return (x * direction.to(x)).sum(-1)


def _long(name: str, values: Tensor, logit: Tensor) -> pl.DataFrame:
    """A part's contributions, one per line."""
    places = torch.ones(values.shape).nonzero().T.tolist()
    layer, unit = (places[i] if len(places) > i else [None] * len(places[0]) for i in (1, 2))
    share = values.cpu() / logit.cpu().view(-1, *[1] * (values.dim() - 1))
    columns = {"row": places[0], "part": [name] * len(places[0]), "layer": layer, "unit": unit}
    numbers = {"value": values.flatten().cpu().numpy(), "share": share.flatten().numpy()}
    return pl.DataFrame({**columns, **numbers}, _SCHEMA)


_SCHEMA = {
    "row": pl.Int64, "part": pl.String, "layer": pl.Int64, "unit": pl.Int64, "value": pl.Float64, "share": pl.Float64,
}  # fmt: skip


def _label(part: str, layer: int | None, unit: int | None) -> str:
    return part + "".join(
        f" {place}" if i == 0 else f".{place}" for i, place in enumerate((layer, unit)) if place is not None
    )
