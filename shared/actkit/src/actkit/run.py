"""One forward pass, and what was asked to be seen of it."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from actkit.batch import Batch
from actkit.captured import Run
from actkit.edits import Edit
from actkit.errors import ActkitError, EditError, PromptError
from actkit.hooks import Layout, Probe, Stop, undisturbed
from actkit.sites import Site

if TYPE_CHECKING:
    from actkit.model import Model

Logits = Literal["last", "all"] | None
Patterns = str | Iterable[str]
OnCapture = Callable[[str, Tensor], None]


def refuse_other(batch: object) -> None:
    """Raise PromptError for anything that is not a Batch."""
    if not isinstance(batch, Batch):
        raise PromptError(f"A Batch is needed, not {type(batch).__name__}.", "Make one with model.encode(prompts).")


def refuse_nan(model: "Model", batch: Batch) -> None:
    """Raise ActkitError where Hugging Face's model is wrong about padding.

    Some recurrent families let the state leak over padding on the left. And eager attention divides by zero in float64:
    its mask holds float64's lowest number, its softmax is float32, so a row with padding has nothing to attend to.
    """
    if "left_padding" in model.family.refuses and not bool(batch.attention_mask[:, 0].all()):
        raise ActkitError(
            f"{model.family.name} cannot take rows padded on the left: {model.family.refuses['left_padding']}.",
            "Encode with pad='right'; to generate, give prompts of one length at a time.",
        )
    eager = model.hf.config._attn_implementation == "eager" and model.dims.heads
    if eager and model.hf.dtype == torch.float64 and not batch.even:
        raise ActkitError(
            "Eager attention in float64 gives NaN for padded rows.",
            "Load the model with attn_implementation='sdpa', use float32, or give rows of equal length.",
        )


def refuse_decoding(model: "Model") -> None:
    """Raise ActkitError for families whose state is not a cache that rows can leave."""
    if "generate" in model.family.refuses:
        raise ActkitError(f"{model.family.name} cannot generate here: {model.family.refuses['generate']}.")


def probe_for(model: "Model", capture: Patterns, edits: Iterable[Edit]) -> Probe:
    """A closed probe for these captures and edits. Raises UnknownSite."""
    captures = model.find(capture)
    edits = [edits] if isinstance(edits, Edit) else list(edits)
    if wrong := [edit for edit in edits if not isinstance(edit, Edit)]:
        raise EditError(f"{wrong[0]!r} is not an edit.", "Edits are made by zero, set_, add, scale, swap, fn, ...")
    targets = [(edit, model.find(edit.at)) for edit in edits]
    for edit, sites in targets:
        if any(site.kind == "attn_pattern" for site in sites) and min(edit.where.units or (0,)) < 0:
            raise EditError(f"{edit}: units of a pattern are key tokens counted from 0; rows end at different ones.")
    return Probe(captures, targets, model.dims.heads)


def _refuse_missed(edits: Sequence[Edit], batch: Batch) -> None:
    """Raise EditError for an edit of rows or positions that the batch does not have."""
    placed = [edit for edit in edits if edit.where.rows is not None or edit.where.pos is not None]
    lengths = batch.lengths.tolist() if placed else []
    for edit in placed:
        if missed := edit.where.missed(lengths):
            raise EditError(f"{edit} names {missed}.")


def run(
    model: "Model",
    batch: Batch,
    *,
    capture: Patterns,
    edits: Iterable[Edit],
    logits: Logits,
    grad: bool,
    to: torch.device | torch.dtype | str | None,
    on_capture: OnCapture | None,
) -> Run:
    """See `Model.run`."""
    if logits not in ("last", "all", None):
        raise ActkitError(f"logits must be 'last', 'all' or None, not {logits!r}.")
    if grad and to is not None:
        raise ActkitError(
            "With grad=True captures stay where the graph is, so `to` cannot move them.", "Leave out `to`."
        )
    refuse_other(batch)
    refuse_nan(model, batch)
    batch = batch.to(model.device)
    probe = probe_for(model, capture, edits)
    _refuse_missed(probe.edits, batch)
    probe.shape = (batch.input_ids.shape[0], batch.input_ids.shape[1])
    if probe.needs_layout:
        rows = torch.arange(len(batch), device=batch.input_ids.device)
        probe.layout = Layout(rows, batch.positions, batch.lengths, even=batch.even)
    values: dict[str, Tensor] = {}

    def keep(site: Site, x: Tensor) -> None:
        x = x if to is None else x.to(to)
        if on_capture is None:
            values[site.name] = x
        else:
            on_capture(site.name, x)

    everywhere = logits == "all" or model.sites["logits"] in probe.touched
    with undisturbed(model.hf, grad=grad), probe:
        stop_after = None if logits or everywhere else _last_needed(model, probe.touched)
        probe.open(keep, stop_after)
        if grad:
            probe.rooted(model.sites["embed"].module)
        if not everywhere:
            probe.before_head(model.head, lambda x: _at_last(x, batch))
        scores = _forward(model, batch)
        if scores is not None and everywhere:
            scores = probe.through(model.sites["logits"], scores)
        if scores is not None and logits == "last":
            scores = (_at_last(scores, batch) if everywhere else scores)[:, 0]
    probe.settle()
    if scores is None or logits is None:
        return Run(values, batch, origin=model.origin)
    return Run(values, batch, scores, model.origin)


def _at_last(x: Float[Tensor, "B T n"], batch: Batch) -> Float[Tensor, "B 1 n"]:
    """What `x` holds at each row's last real token."""
    return x[:, -1:] if batch.flush else x.take_along_dim(batch.last[:, None, None].to(x.device), dim=1)


def _forward(model: "Model", batch: Batch) -> Tensor | None:
    """Logits of a plain forward, or None when it was stopped on the way."""
    try:
        return model.hf(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
        ).logits
    except Stop:
        return None


def _last_needed(model: "Model", touched: list[Site]) -> nn.Module:
    """The module after which nothing asked for is still to come: a whole block, so that it ends undisturbed."""
    if not touched:
        raise ActkitError("Nothing was asked for: no capture, no edit, no logits.")
    layer = max(-1 if site.layer is None else site.layer for site in touched)
    return model.blocks[layer] if layer >= 0 else model.sites["embed"].module
