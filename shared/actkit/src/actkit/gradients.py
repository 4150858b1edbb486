"""Gradients of a metric with respect to captured activations, and the metrics most often asked for."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from actkit.errors import ActkitError

Metric = Callable[[Tensor], Tensor] | Tensor
TokenIds = int | Sequence[int] | Int[Tensor, " B"]


def logit(target: TokenIds) -> Callable[[Float[Tensor, "B V"]], Float[Tensor, " B"]]:
    """Metric: the target token's logit. One id for all rows, or one per row."""
    return lambda logits: _picked(logits, target)


def logit_difference(target: TokenIds, contrast: TokenIds) -> Callable[[Float[Tensor, "B V"]], Float[Tensor, " B"]]:
    """Metric: the target token's logit minus the contrasted one's."""
    return lambda logits: _picked(logits, target) - _picked(logits, contrast)


def logprob(target: TokenIds) -> Callable[[Float[Tensor, "B V"]], Float[Tensor, " B"]]:
    """Metric: the target token's log-probability, in nats."""
    return lambda logits: _picked(logits.log_softmax(-1), target)


def token_ids(ids: TokenIds, rows: int, vocab: int) -> Int[Tensor, " B"]:
    """One token id per row. Raises ActkitError for a wrong number of them, or no such token."""
    chosen = torch.as_tensor(ids)
    if chosen.is_floating_point() or chosen.numel() not in (1, rows) or chosen.dim() > 1:
        raise ActkitError(f"Tokens {ids!r}: one id is needed, or one for each of {rows} rows.")
    if int(chosen.min()) < 0 or int(chosen.max()) >= vocab:
        raise ActkitError(f"Tokens {ids!r}: the vocabulary has ids 0 to {vocab - 1}.")
    return chosen.expand(rows)


def _picked(scores: Float[Tensor, "B V"], ids: TokenIds) -> Float[Tensor, " B"]:
    if scores.dim() != 2:
        raise ActkitError(
            f"This metric reads logits of shape [B, V], not {list(scores.shape)}.",
            "Run with logits='last', or give a function of your own.",
        )
    return scores.gather(-1, token_ids(ids, *scores.shape).to(scores.device)[:, None])[:, 0]


@torch.enable_grad()
def gradients(values: Mapping[str, Tensor], logits: Tensor | None, metric: Metric) -> dict[str, Tensor]:
    """See `Run.grads`."""
    if not values:
        raise ActkitError("This run captured nothing to differentiate with respect to.", "Name sites in `capture`.")
    if not any(value.requires_grad for value in values.values()):
        raise ActkitError("This run kept no graph.", "Make it with grad=True, outside torch.inference_mode().")
    scores = _scores(metric, logits)
    if scores.dim() > 1:
        raise ActkitError(f"A metric is one number, or one per row; this one has shape {list(scores.shape)}.")
    if not scores.requires_grad:
        raise ActkitError("The metric does not depend on this run: nothing leads back from it to an activation.")
    found = torch.autograd.grad(scores.sum(), list(values.values()), retain_graph=True, allow_unused=True)
    if all(gradient is None for gradient in found):
        raise ActkitError(
            f"The metric does not depend on {', '.join(values)}.", "Capture sites that come before what it reads."
        )
    pairs = zip(values.items(), found, strict=True)
    return {name: torch.zeros_like(x) if gradient is None else gradient for (name, x), gradient in pairs}


def _scores(metric: Metric, logits: Tensor | None) -> Tensor:
    if isinstance(metric, Tensor):
        return metric
    if logits is None:
        raise ActkitError("This run has no logits for the metric to read.", "Run with logits='last' or 'all'.")
    scores = metric(logits)
    if not isinstance(scores, Tensor):
        raise ActkitError(f"The metric gave {type(scores).__name__}, not a tensor.", "It must stay in the graph.")
    return scores
