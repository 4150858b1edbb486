"""Causal tracing: put activations of one run into another, cell by cell, and see what the model then says.

Meng et al. 2022 ("Locating and editing factual associations in GPT", section 2.1) for noised prompts; activation
patching between pairs of prompts as in Wang et al. 2022 ("Interpretability in the wild"), in both directions.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Bool
from torch import Tensor

from actkit.batch import Batch
from actkit.errors import ActkitError
from actkit.model import Model, Prompts
from actkit.tracing.cells import default_batch_size, lines_of, sites_at
from actkit.tracing.estimate import estimated
from actkit.tracing.grid import Grid, Into
from actkit.tracing.inputs import Noised, Positions, columns, prepare
from actkit.tracing.measure import measured
from actkit.tracing.metrics import Metric, Score, Target
from actkit.tracing.question import Question


def trace(
    model: Model,
    clean: str | Prompts | Batch,
    corrupt: str | Prompts | Batch | Noised,
    *,
    at: str | Iterable[str],
    positions: Positions = "all",
    metric: Metric,
    target: Target = None,
    contrast: Target = None,
    window: int = 1,
    into: Into = "corrupt",
    per_head: bool = False,
    keep_top: int | None = None,
    batch_size: int | None = None,
) -> Grid:
    """The metric after putting one run's activations into the other's, for every site, layer and column of positions.

    `clean`, `corrupt`: one prompt or several, in pairs with equally many tokens; or `Noised(span)` as `corrupt`, whose
    samples are averaged. `into="corrupt"` restores clean activations in the corrupt run, `into="clean"` the reverse.

    `at`: kinds of sites ("resid_post", every layer), names or globs; several give several panels. `window`: layers
    patched together, centred on the cell's. `per_head`: each head of `attn_z` (or `attn_q` ...) by itself.
    `positions`: "all" real tokens; a list; or named ones patched together, `{"subject": (2, 3), "last": -1}`, where
    a list of tuples gives each pair its own. Positions count real tokens, negative ones from the end.

    `metric`: "prob", "logprob" or "logit" of `target`; "logit_difference" of `target` and `contrast`; "kl" from the
    clean run, in nats; or a function of the logits at the last token, [b, V] -> [b], that treats every row alike.
    `target`: one token as text or id, or one per pair.

    `keep_top`: measure only so many cells, those `attribution_patch` finds strongest; the others are NaN. Not
    with a window, which has no first-order estimate.
    `batch_size`: most rows of one forward pass; chosen by memory when not given.

    Equal to one plain forward per cell, at a fraction of the cost: passes begin at the first block and token that can
    change, hold many cells' rows, and leave out those that cannot differ. Raises PromptError, UnknownSite and
    ActkitError.
    """
    if keep_top is not None and keep_top < 1:
        raise ActkitError(f"keep_top is {keep_top}; at least one cell is needed.")
    question = _asked(
        model, clean, corrupt, at=at, positions=positions, metric=metric, target=target, contrast=contrast,
        window=window, into=into, per_head=per_head, batch_size=batch_size,
    )  # fmt: skip
    return measured(question, None if keep_top is None else strongest(estimated(question), keep_top))


def attribution_patch(
    model: Model,
    clean: str | Prompts | Batch,
    corrupt: str | Prompts | Batch | Noised,
    *,
    at: str | Iterable[str],
    positions: Positions = "all",
    metric: Metric,
    target: Target = None,
    contrast: Target = None,
    into: Into = "corrupt",
    per_head: bool = False,
    batch_size: int | None = None,
) -> Grid:
    """As `trace`, to first order: m(patched) ≈ m(base) + (source − base) · ∂m/∂base.

    Nanda 2023, "Attribution patching"; "AtP" in Kramár et al. 2024 (arXiv 2403.00745), over nodes.

    Two forwards and one backward for all cells at once. Close where the metric is nearly linear in the site; it misses
    saturated softmaxes and overrates large changes of the stream, so measure what it finds: `trace(..., keep_top=n)`.
    Raises as `trace`.
    """
    question = _asked(
        model, clean, corrupt, at=at, positions=positions, metric=metric, target=target, contrast=contrast,
        window=1, into=into, per_head=per_head, batch_size=batch_size,
    )  # fmt: skip
    return estimated(question)


def strongest(grid: Grid, count: int) -> Bool[Tensor, "K L P"]:
    """The `count` cells whose value is furthest from the base's."""
    change = (grid.values - grid.base).abs().nan_to_num(-1)
    chosen = torch.zeros_like(change, dtype=torch.bool)
    chosen.view(-1)[change.flatten().topk(min(count, change.numel())).indices] = True
    return chosen & (change >= 0)


def _asked(
    model: Model,
    clean: str | Prompts | Batch,
    corrupt: str | Prompts | Batch | Noised,
    *,
    at: str | Iterable[str],
    positions: Positions,
    metric: Metric,
    target: Target,
    contrast: Target,
    window: int,
    into: Into,
    per_head: bool,
    batch_size: int | None,
) -> Question:
    """The arguments of `trace`, checked."""
    if into not in ("corrupt", "clean"):
        raise ActkitError(f'into must be "corrupt" or "clean", not {into!r}.')
    if window < 1 or (batch_size is not None and batch_size < 1):
        raise ActkitError(f"window ({window}) and batch_size ({batch_size}) must be at least 1.")
    sites = sites_at(model, at)
    pairs = prepare(model, clean, corrupt)
    return Question(
        model=model,
        pairs=pairs,
        sites=sites,
        lines=lines_of(model, sites, per_head),
        columns=columns(model, pairs, positions),
        score=Score(model, metric, target, contrast, len(pairs.clean)),
        window=window,
        into=into,
        batch_size=batch_size or default_batch_size(model, pairs),
    )
