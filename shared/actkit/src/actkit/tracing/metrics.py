"""What a trace measures: one number per row of last-token logits."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from actkit.errors import ActkitError, nearest
from actkit.model import Model
from actkit.tokens import Token, readable, token_id

Builtin = Literal["prob", "logprob", "logit", "logit_difference", "kl"]
Metric = Builtin | Callable[[Float[Tensor, "b V"]], Float[Tensor, " b"]]
_WORDS = {
    "prob": "probability of {}",
    "logprob": "log-probability of {}",
    "logit": "logit of {}",
    "logit_difference": "logit difference {} − {}",
}
Target = Token | Sequence[Token] | None


class Score:
    """A metric bound to a model and its pairs: `score(logits, pairs)` gives one number per row.

    `pairs` says which pair each row belongs to.
    """

    def __init__(self, model: Model, metric: Metric, target: Target, contrast: Target, pairs: int) -> None:
        if not callable(metric) and metric not in get_args(Builtin):
            raise ActkitError(f"No metric {metric!r}. Nearest: {nearest(metric, get_args(Builtin))}.")
        self.metric = metric
        self.target = _needed(model, metric, target, pairs, "target", metric not in ("kl",) and not callable(metric))
        self.contrast = _needed(model, metric, contrast, pairs, "contrast", metric == "logit_difference")
        self.name = self._named(model)
        self._clean: tuple[Tensor, int] | None = None

    def __call__(self, logits: Float[Tensor, "b V"], pairs: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        if callable(self.metric):
            return _checked(self.metric(logits), len(logits))
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.metric == "kl":
            return self._divergence(logits, pairs)
        if self.metric in ("prob", "logprob"):
            logits = logits.log_softmax(-1)
        value = _picked(logits, self.target, pairs)
        if self.metric == "logit_difference":
            return value - _picked(logits, self.contrast, pairs)
        return value.exp() if self.metric == "prob" else value

    def _divergence(self, logits: Float[Tensor, "b V"], pairs: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """KL(clean ‖ row), in nats."""
        assert self._clean is not None, "kl needs the clean run's logits"
        clean, first = self._clean
        clean = clean.to(logits).log_softmax(-1)[pairs - first]
        return (clean.exp() * (clean - logits.log_softmax(-1))).sum(-1)

    def compare_with(self, clean: Float[Tensor, "p V"], first: int) -> None:
        """Take these clean logits, of the pairs from number `first` on, as what "kl" compares with."""
        self._clean = clean, first

    def refuse_mixing(self, logits: Float[Tensor, "b V"]) -> None:
        """Raise ActkitError for a function whose number of a row depends on the other rows: passes mix rows freely."""
        if not callable(self.metric) or len(logits) == 1:
            return
        together = _checked(self.metric(logits), len(logits))
        alone = torch.cat([_checked(self.metric(row[None]), 1) for row in logits])
        if not torch.allclose(together.float(), alone.float(), rtol=1e-3, atol=1e-5, equal_nan=True):
            raise ActkitError(
                "The metric gives a row another value when it comes alone, so it cannot be used on mixed batches.",
                "Treat every row alike; for one token per pair give a built-in metric and a list as `target`.",
            )

    def _named(self, model: Model) -> str:
        if callable(self.metric):
            return getattr(self.metric, "__name__", repr(self.metric))
        if self.target is None:
            return "KL from the clean run, nats"
        target, contrast = _spelled(model, self.target), _spelled(model, self.contrast)
        return _WORDS[self.metric].format(target, contrast)


def _picked(scores: Float[Tensor, "b V"], ids: Tensor | None, pairs: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    assert ids is not None
    return scores.gather(-1, ids.to(scores.device)[pairs, None])[:, 0]


def _checked(value: object, rows: int) -> Tensor:
    if not isinstance(value, Tensor) or value.shape != (rows,):
        found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ActkitError(f"The metric must give one number per row, [{rows}] for logits [{rows}, V], not {found}.")
    return value


def _spelled(model: Model, ids: Tensor | None) -> str:
    if ids is None:
        return ""
    words = list(dict.fromkeys(repr(word) for word in readable(model.tokenizer, ids.tolist())))
    return words[0] if len(words) == 1 else "each pair's token"


def _needed(model: Model, metric: Metric, given: Target, pairs: int, name: str, wanted: bool) -> Tensor | None:
    """One token id per pair, or None where the metric takes none."""
    if given is None and not wanted:
        return None
    what = "a function" if callable(metric) else f"{metric!r}"
    if given is None:
        raise ActkitError(f"The metric {what} needs a `{name}`.", f'Such as {name}=" Paris", or one token per pair.')
    if not wanted:
        raise ActkitError(f"The metric {what} takes no `{name}`.", f"Leave {name}={given!r} out.")
    tokens = [given] * pairs if isinstance(given, str | int) else list(given)
    if len(tokens) != pairs:
        raise ActkitError(f"{len(tokens)} tokens as `{name}` for {pairs} pairs.", "Give one, or one per pair.")
    return torch.tensor([token_id(model, token) for token in tokens], device=model.device)
