"""The loop's body: one step after the other, each a function of the weights, the optimizer's state, seed and number."""

import math
from collections.abc import Sequence
from typing import Any, cast

import actkit
import numpy as np
import torch
from actkit.room import whole
from jaxtyping import Float, Int
from runkit.errors import UsageError
from runkit.learning import put_back, tensors
from runkit.team import Team
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from memreason.codec import Rendered
from memreason.options import TrainOptions
from memreason.training.adapters import is_row
from memreason.training.feed import Feed, collate, share, supervised


class Supervised(nn.Module):
    """A causal LM whose head sees the supervised places alone; scales and caps of its logits stay its own."""

    def __init__(self, learner: nn.Module, hf: PreTrainedModel) -> None:
        super().__init__()
        self.learner = learner
        self._head: Any = hf.get_output_embeddings()

    def forward(
        self, ids: Int[Tensor, "b T"], places: Int[Tensor, " N"], targets: Int[Tensor, " N"]
    ) -> Float[Tensor, ""]:
        """Sum of the cross-entropy of the targets, in nats.

        Padding is on the right and the model causal, so no mask is needed, and attention takes its fast path.
        """
        handle = self._head.register_forward_pre_hook(lambda _, given: (given[0].flatten(0, 1)[places],))
        try:
            logits = self.learner(input_ids=ids, use_cache=False).logits
        finally:
            handle.remove()
        return functional.cross_entropy(logits.float(), targets, reduction="sum")


class Trainer:
    """Steps of training. `step`: how many have been made; `hf`: the model, adapters inside it."""

    def __init__(self, hf: PreTrainedModel, learner: nn.Module, feed: Feed, options: TrainOptions, team: Team) -> None:
        self.hf, self.learner, self.step = hf, learner, 0
        self._feed, self._options, self._team = feed, options, team
        groups = _groups(hf, learner, options)
        self._parameters = {name: each for group in groups for name, each in group["named"].items()}
        self._optimizer = torch.optim.AdamW(
            [{"params": list(g["named"].values()), "lr": g["peak"], "weight_decay": g["decay"]} for g in groups]
        )
        self._peaks = [g["peak"] for g in groups]
        self._forward = team.wrap(Supervised(learner, hf))

    @property
    def trained(self) -> int:
        """How many numbers learn."""
        return sum(each.numel() for each in self._parameters.values())

    def rate(self) -> float:
        """The learning rate of the next step: linear warm-up, then a cosine down to 0."""
        return self._options.learning_rate * self._factor()

    def advance(self) -> Tensor:
        """One step; its loss in nats per token, which stays on the device.

        Raises:
            UsageError: a batch does not fit into memory.
        """
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * self._factor()
        self.learner.train()
        torch.manual_seed(self._seed())  # of dropout
        with whole(self._too_many):
            loss = self._gradients(self._feed.step(self.step))
        nn.utils.clip_grad_norm_(self._parameters.values(), self._options.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss

    def _too_many(self) -> UsageError:
        size = self._options.batch_size
        return UsageError(f"{size} traces at once do not fit into memory: lower --batch-size and raise --accumulate")

    @torch.no_grad()
    def loss(self, rows: Sequence[Rendered]) -> float:
        """Mean loss of traces that are not learnt, in nats per token. For the leader alone: no other process joins."""
        self.learner.eval()
        module, size, room = Supervised(self.learner, self.hf), self._options.batch_size, actkit.Room()

        def lost(some: Sequence[Rendered]) -> float:
            return float(module(*collate(some).to(self._team.device)))

        ordered = sorted(rows, key=lambda each: len(each.ids))
        batches = [ordered[first : first + size] for first in range(0, len(ordered), size)]
        return sum(sum(room(batch, lost)) for batch in batches) / supervised(rows)

    def state(self) -> dict[str, Tensor]:
        """What the next steps depend on."""
        return tensors(self._parameters, self._optimizer)

    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Go on from what `state` gave after `step` steps."""
        self.step = step
        put_back(self._parameters, self._optimizer, tensors)

    def _gradients(self, found: list[list[Rendered]]) -> Tensor:
        """Of the mean over all tokens that the step learns, whichever batch and process they are in."""
        total = sum(map(supervised, found))
        loss = torch.zeros((), device=self._team.device)
        for rows in found:
            part = self._forward(*share(rows, self._team.rank, self._team.size).to(self._team.device)) / total
            (part * self._team.size).backward()  # processes average their gradients
            loss += part.detach()
        return self._summed(loss)

    def _summed(self, loss: Tensor) -> Tensor:
        if self._team.size > 1:
            torch.distributed.all_reduce(loss)
        return loss

    def _seed(self) -> int:
        sequence = np.random.SeedSequence((self._options.seed, self.step, self._team.rank))
        return int(sequence.generate_state(1)[0])

    def _factor(self) -> float:
        steps = self._feed.steps
        warmup = max(1, round(self._options.warmup * steps))
        if self.step < warmup:
            return (self.step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (self.step - warmup) / max(1, steps - warmup)))


def _groups(hf: PreTrainedModel, learner: nn.Module, options: TrainOptions) -> list[dict[str, Any]]:
    """Parameters that learn: new rows at a rate of their own; matrices, which decay; vocabularies, norms, biases."""
    words = {id(cast("Any", each).weight) for each in (hf.get_input_embeddings(), hf.get_output_embeddings())}
    rows: dict[str, Tensor] = {}
    decaying: dict[str, Tensor] = {}
    steady: dict[str, Tensor] = {}
    for name, each in learner.named_parameters():
        if each.requires_grad:
            (rows if is_row(name) else steady if each.ndim < 2 or id(each) in words else decaying)[name] = each
    rate = options.learning_rate
    found = [
        {"named": rows, "peak": options.token_rate or rate, "decay": 0.0},
        {"named": decaying, "peak": rate, "decay": options.weight_decay},
        {"named": steady, "peak": rate, "decay": 0.0},
    ]
    return [group for group in found if group["named"]]
