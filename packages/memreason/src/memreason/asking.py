"""Put questions to a student, many at a time.

Greedy by default, unlike the original, which samples without a seed (Jin et al. 2025's code follows the model's
generation_config); drawn answers depend on their row's own seed, never on the rows beside it.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import actkit
import torch
from actkit.stopping import Finish, eos_ids
from jaxtyping import Float
from torch import Tensor

from memreason.codec import Codec
from memreason.steering.grammar import Grammar, Writer
from memreason.steering.rules import Rules
from memreason.steering.steered import Steered


class Said(NamedTuple):
    """`new_ids`: with the one that ended it. `logprob`: mean log-probability, in nats, of the tokens that the student
    chose itself (None where it chose none): by the plain model at temperature 1, without what rules took away."""

    new_ids: list[int]
    finish: Finish
    logprob: float | None


def say(
    model: actkit.Model,
    codec: Codec,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int | Sequence[int] = 0,
    rules: Sequence[Rules] | None = None,
) -> list[Said]:
    """What a student says to one batch of prompts; put prompts of like length together (`actkit.buckets`).

    A prompt that leaves no room in the context is answered by nothing (finish `context`).

    Args:
        seed: for temperatures above 0; one, or one per prompt.
        rules: one per prompt: the answers keep to the grammar and to these. None: anything may be written.

    Raises:
        UsageError: rules that a student of this scheme cannot keep to.
    """
    long = set(model.too_long(prompts, 1))
    able = [place for place in range(len(prompts)) if place not in long]
    said = [Said([], "context", None) for _ in prompts]
    if not able:
        return said
    hearing = _Hearing(model, _steered(model, codec, rules, able), len(able))
    made = model.generate(
        model.encode([prompts[place] for place in able]),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed if isinstance(seed, int) else [seed[place] for place in able],
        adjust=hearing.adjust,
        on_step=hearing.hear,
    )
    for place, ids, finish, logprob in zip(able, made.tokens, made.finish, hearing.means(), strict=True):
        said[place] = Said(ids, finish, logprob)
    return said


def _steered(model: actkit.Model, codec: Codec, rules: Sequence[Rules] | None, able: Sequence[int]) -> Steered | None:
    if rules is None:
        return None
    grammar = _grammar(codec, eos_ids(model))
    return Steered([Writer(grammar, rules[place].check(codec.scheme)) for place in able])


@lru_cache(maxsize=1)
def _grammar(codec: Codec, ends: frozenset[int]) -> Grammar:
    """Kept for the next batch: it looks at every token of the vocabulary."""
    return Grammar(codec, ends)


class _Hearing:
    """Sums up, on the device, the log-probabilities of what was chosen; tells the writers of it."""

    def __init__(self, model: actkit.Model, steered: Steered | None, rows: int) -> None:
        self.steered = steered
        self.sums = torch.zeros(rows, dtype=torch.float64, device=model.device)
        self.counts = [0] * rows
        self._numbers: list[int] = []

    def adjust(self, logits: Float[Tensor, "b V"], rows: Sequence[int]) -> Float[Tensor, "b V"]:
        self._logits, self._numbers = logits, list(rows)
        return logits if self.steered is None else self.steered.adjust(logits, rows)

    def hear(self, step: actkit.Step) -> None:
        free = [True] * len(self._numbers) if self.steered is None else self.steered.free
        for row, own in zip(self._numbers, free, strict=True):
            self.counts[row] += own
        own = self._logits.float().log_softmax(-1).gather(-1, step.tokens[:, None])[:, 0].double()
        if self.steered is not None:
            own = own.where(torch.tensor(free, device=own.device), 0.0)
            self.steered.take(self._numbers, step.tokens.tolist())
        self.sums.index_add_(0, step.rows, own.to(self.sums.device))

    def means(self) -> list[float | None]:
        """Per row, over the tokens that it chose itself."""
        sums: list[float] = self.sums.tolist()
        return [min(total / n, 0.0) if n else None for total, n in zip(sums, self.counts, strict=True)]
