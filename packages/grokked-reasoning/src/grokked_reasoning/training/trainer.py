"""The loop: model, optimizers and rows at some step of a run."""

from typing import Any

import torch
from actkit.room import whole
from jaxtyping import Float, Int
from runkit.errors import UsageError
from runkit.team import Team
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from grokked_reasoning.dataset import Rows
from grokked_reasoning.options import TrainOptions
from grokked_reasoning.training import optimizer
from grokked_reasoning.training.feed import IGNORED, Feed, mixed
from grokked_reasoning.training.grokfast import Grokfast


class Supervised(nn.Module):
    """A causal LM whose head sees the supervised positions only."""

    def __init__(self, lm: PreTrainedModel) -> None:
        super().__init__()
        self.lm: Any = lm

    def forward(
        self, ids: Int[Tensor, "b T"], places: Int[Tensor, "b A"], targets: Int[Tensor, "b A"]
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy of the target tokens, in nats; equal to the Hugging Face model's loss with such labels."""
        hidden = self.lm.base_model(input_ids=ids, use_cache=False).last_hidden_state
        rows = torch.arange(len(ids), device=ids.device)[:, None]
        logits = self.lm.lm_head(hidden[rows, places])
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED)


class Trainer:
    """Steps of training. `step`: how many have been made.

    What a step does depends on the weights, the optimizer's state, the seed and the step's number, and on where the
    random numbers of dropout stand: `settle` puts them to a place that only seed and step decide.
    """

    def __init__(self, model: PreTrainedModel, rows: Rows, options: TrainOptions, team: Team) -> None:
        self.model, self.step = model, 0
        self._options, self._team, self._recipe = options, team, options.recipe()
        team.check(self._recipe.batch_size)
        self.feed = Feed(rows, self._recipe.batch_size, options.seed, team.device)
        self._parameters = [each for each in model.parameters() if each.requires_grad]
        self._optimizers = optimizer.make(model, options, team.device)
        self._grokfast = Grokfast(options.grokfast, self._parameters)
        self._forward = team.wrap(Supervised(model))
        if options.compile:
            self._forward = torch.compile(self._forward, mode="reduce-overhead" if team.device.type == "cuda" else None)
        self._losses, self._since = torch.zeros((), device=team.device), 0
        self._norm = torch.zeros((), device=team.device)

    def settle(self) -> None:
        """Seed the random numbers for the steps from here; called after every pause, so a resumed run has the same."""
        self.model.train()
        torch.manual_seed(mixed(self._options.seed, self.step * self._team.size + self._team.rank))

    def advance(self) -> None:
        """One step. Nothing is read back from the device.

        Raises:
            UsageError: a batch does not fit into memory.
        """
        optimizer.set_rate(self._optimizers, optimizer.rate(self._options, self.step))
        batch = self.feed.batch(self.step, self._team.rank, self._team.size)
        low = self._options.precision == "bf16"
        with whole(self._too_many):
            with torch.autocast(self._team.device.type, dtype=torch.bfloat16, enabled=low):
                loss = self._forward(*batch)
            loss.backward()
        self._norm = nn.utils.clip_grad_norm_(self._parameters, self._options.clip)
        self._grokfast.apply()
        for each in self._optimizers:
            each.step()
            each.zero_grad(set_to_none=True)
        self._losses += loss.detach()
        self._since += 1
        self.step += 1

    def _too_many(self) -> UsageError:
        size = self._recipe.batch_size
        return UsageError(f"{size} rows at once do not fit into memory: lower --batch-size, or take more processes")

    def told(self) -> dict[str, float]:
        """Mean loss since the last call, and learning rate, gradient norm and weight norm now."""
        weights = torch.stack([each.detach().float().square().sum() for each in self._parameters]).sum().sqrt()
        loss = float(self._losses) / max(1, self._since)
        self._losses, self._since = torch.zeros_like(self._losses), 0
        rate = optimizer.rate(self._options, max(0, self.step - 1))
        return {
            "loss": loss,
            "learning_rate": rate,
            "gradient_norm": float(self._norm),
            "weight_norm": float(weights),
        }

    def state(self) -> dict[str, Tensor]:
        """All tensors beside the weights that the next steps depend on."""
        found = optimizer.state(self._optimizers) | {
            f"grokfast.{name}": each for name, each in self._grokfast.state().items()
        }
        return {name: each.detach().cpu().contiguous() for name, each in found.items()}

    def restore(self, step: int, weights: PreTrainedModel, tensors: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self.step = step
        self.model.load_state_dict(weights.state_dict())
        slow = {name[9:]: each for name, each in tensors.items() if name.startswith("grokfast.")}
        optimizer.restore(self._optimizers, {k: v for k, v in tensors.items() if not k.startswith("grokfast.")})
        self._grokfast.restore(slow)
