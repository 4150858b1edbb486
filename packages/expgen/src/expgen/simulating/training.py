"""Teaching a causal language model to simulate: the loop, and what a resumed one needs.

Choi et al. (2024): cross-entropy between the levels 0 to 10 and the logits of eleven ids, at the input's tokens only.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from actkit.room import whole
from peft import LoraConfig, get_peft_model
from runkit.errors import UsageError
from runkit.learning import batches, put_back, tensors
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from expgen.options import TrainSimulatorOptions
from expgen.simulating import reading
from expgen.simulating.lessons import Lesson

_WARMUP = 0.1  # share of the steps
_CLIP = 1.0


class Trainer:
    """Steps of training of a narrowed model. `step`: how many have been made.

    What a step does depends on the weights, the optimizer's state, the seed and its number alone: the model is in
    evaluation mode, so that there is no dropout.
    """

    def __init__(self, lm: PreTrainedModel, found: Sequence[Lesson], options: TrainSimulatorOptions) -> None:
        self.step = 0
        self._options, self._lessons = options, found
        self._lm, self._dtype = lm, lm.dtype
        self._learner: Any = _adapted(lm, options) if options.rank else _opened(lm)
        self._learner.eval()
        named = [(name, each) for name, each in self._learner.named_parameters() if each.requires_grad]
        self._parameters = dict(named)
        self._optimizer = torch.optim.AdamW(self._parameters.values(), lr=options.learning_rate)
        self._order: tuple[int, list[list[int]]] = (-1, [])

    def rate(self) -> float:
        """The learning rate of the next step: linear warm-up, then a cosine down to 0."""
        steps, warmup = self._options.steps, max(1, round(_WARMUP * self._options.steps))
        if self.step < warmup:
            return self._options.learning_rate * (self.step + 1) / warmup
        done = (self.step - warmup) / max(1, steps - warmup)
        return self._options.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def advance(self) -> Tensor:
        """One step; its loss in nats per token, which stays on the device.

        Raises:
            UsageError: a batch does not fit into memory.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate()
        with whole(self._too_many):
            loss = self._loss([self._lessons[number] for number in self._batch()])
            loss.backward()
        nn.utils.clip_grad_norm_(self._parameters.values(), _CLIP)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.detach()

    def _too_many(self) -> UsageError:
        return UsageError(f"{self._options.batch_size} texts at once do not fit into memory: lower --batch-size")

    def state(self) -> dict[str, Tensor]:
        """What the next steps depend on."""
        return tensors(self._parameters, self._optimizer)

    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Go on from what `state` gave after `step` steps."""
        self.step = step
        put_back(self._parameters, self._optimizer, tensors)

    def finish(self, head: nn.Module) -> None:
        """Bring what was learnt into the model's own weights and give it its head back; the trainer is of no use then.

        The head comes first: peft unties head and embeddings where it finds them to differ.
        """
        self._lm.set_output_embeddings(head)
        if self._options.rank:
            self._learner.merge_and_unload()
        cast("nn.Module", self._lm).to(self._dtype)

    def _loss(self, batch: Sequence[Lesson]) -> Tensor:
        logits = reading.logits(self._learner, [each.ids for each in batch])
        rows = np.repeat(np.arange(len(batch)), [len(each.at) for each in batch])
        at, wanted = (np.concatenate(parts) for parts in ([x.at for x in batch], [x.levels for x in batch]))
        rows, at, wanted = (torch.from_numpy(each).to(logits.device) for each in (rows, at, wanted))
        return functional.cross_entropy(logits[rows, at].float(), wanted)

    def _batch(self) -> list[int]:
        epoch, number = divmod(self.step, -(-len(self._lessons) // self._options.batch_size))
        if self._order[0] != epoch:
            lengths = [len(each.ids) for each in self._lessons]
            self._order = epoch, batches(lengths, self._options.batch_size, (self._options.seed, epoch))
        return self._order[1][number]


def _adapted(lm: PreTrainedModel, options: TrainSimulatorOptions) -> nn.Module:
    """With low-rank adapters at all linear layers but the head; everything else stays."""
    config = LoraConfig(r=options.rank, lora_alpha=2 * options.rank, target_modules="all-linear")
    torch.manual_seed(options.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # it is set right for GPT-2's layers, and told
        return get_peft_model(lm, config)


def _opened(lm: PreTrainedModel) -> nn.Module:
    """All weights but embeddings and head; in single precision, in which small steps are not lost."""
    lm.float().requires_grad_(True)
    for module in lm.modules():
        if isinstance(module, nn.Embedding) or module is lm.get_output_embeddings():
            module.requires_grad_(False)
    return lm
