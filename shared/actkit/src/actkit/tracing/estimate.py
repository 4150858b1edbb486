"""The quick way: every cell's effect to first order, from two forwards and one backward."""

import torch
from jaxtyping import Float
from torch import Tensor

from actkit.errors import ActkitError
from actkit.hooks import undisturbed
from actkit.tracing.cells import layer_of
from actkit.tracing.grid import Grid
from actkit.tracing.question import Baselines, Chunk, Question
from actkit.tracing.restart import Seen


def estimated(question: Question) -> Grid:
    """m(base) + Σ (source − base) · ∂m/∂base over the slots of each cell. Raises ActkitError for windows."""
    if question.window > 1:
        # A slope counts what goes through the later layers of the window, which the patch cuts off.
        raise ActkitError("A window of layers cannot be estimated: they overwrite each other.", "Use window=1.")
    found: list[Tensor] = []
    baselines: list[Baselines] = []
    # A pass that keeps its graph holds every block's activations, not just one's.
    for chunk in question.chunks(max(1, question.batch_size // question.model.dims.layers)):
        values, unpatched = _estimate(chunk)
        found.append(values)
        baselines.append(unpatched)
    return question.grid(found, baselines, estimate=True)


def _estimate(chunk: Chunk) -> tuple[Float[Tensor, "r K L P"], Baselines]:
    question = chunk.question
    traced = [site for sites in question.sites.values() for site in sites]
    from_clean = question.into == "corrupt"
    with undisturbed(question.model.hf):
        source = chunk.clean(traced) if from_clean else chunk.corrupt(traced)
    with undisturbed(question.model.hf, grad=True):
        base = chunk.corrupt(traced) if from_clean else chunk.clean(traced)
        clean, corrupt = (source, base) if from_clean else (base, source)
        baselines = chunk.baselines(clean, corrupt)
        scores = baselines.corrupt if from_clean else baselines.clean
        firsts = [chunk.base_of.index(i) for i in range(len(base.logits))]  # one row per base row: samples share one
        gradients = torch.autograd.grad(scores[firsts].sum(), list(base.values.values()), allow_unused=True)
    slopes = dict(zip(base.values, gradients, strict=True))
    changes = {name: _change(chunk, source, base, name, slope) for name, slope in slopes.items()}
    values = _gathered(chunk, changes) + scores.detach().double().cpu()[:, None, None, None]
    return values, Baselines(*(each.detach() for each in baselines))


def _change(chunk: Chunk, source: Seen, base: Seen, name: str, slope: Tensor | None) -> Float[Tensor, "r T *heads"]:
    """(source − base) · slope at every slot, and at every head where the site has them."""
    value = base.values[name].detach()
    slope = torch.zeros_like(value) if slope is None else slope
    given = source.values[name][chunk.source_of].to(value)
    return ((given - value[chunk.base_of]) * slope[chunk.base_of]).double().sum(-1).cpu()


def _gathered(chunk: Chunk, changes: dict[str, Tensor]) -> Float[Tensor, "r K L P"]:
    """The changes of each cell added up; NaN where a text is too short for the column."""
    question = chunk.question
    values = question.empty(len(chunk.rows))
    member = _membership(chunk)
    exists = member.any(1)
    for k, line in enumerate(question.lines):
        for site in question.sites[line.kind]:
            change = changes[site.name]
            if change.dim() > 2:
                change = change.flatten(2).sum(-1) if line.head is None else change[..., line.head]
            summed = torch.einsum("rt,rtp->rp", change, member.double())
            values[:, k, question.layers.index(layer_of(site))] = summed.where(exists, torch.nan)
    return values


def _membership(chunk: Chunk) -> Tensor:
    """[r, T, P] whether a slot belongs to a column, in each row's pair."""
    pairs, columns = chunk.question.pairs, chunk.question.columns
    member = torch.zeros(len(chunk.rows), pairs.clean.input_ids.shape[1], len(columns), dtype=torch.bool)
    for i, pair in enumerate(chunk.pair_of):
        for j, column in enumerate(columns):
            for position in column.positions[pair]:
                member[i, pairs.offsets[pair] + position, j] = True
    return member
