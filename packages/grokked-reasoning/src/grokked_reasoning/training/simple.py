"""The same data through simpletransformers' `LanguageModelingModel`: the original's kind of trainer, for comparison.

Its loop, optimizer groups and schedules are its own (simpletransformers 0.70); data, vocabulary and model are ours,
because its text loaders do not work with transformers 5. What it does that one should know:

- It learns every token it is given: its loop passes the inputs as labels. Rows go in as pairs of ids and labels, and
  the model it trains takes them apart, so that only the answer is learned here.
- Logits are computed at all positions of rows padded to the longest; two `.item()` per step wait for the device.
- Norms' gains decay, as it spares "bias" and "LayerNorm.weight" alone and GPT-2 calls its norms ln_1, ln_2, ln_f.
- The first step of a warm-up has the rate 0; a warm-up of 0 means 6 % of all steps unless `warmup_ratio` is 0 too.
- Steps are counted in epochs: it goes on to one step more than asked for. It is stopped from within, at a forward.
- The last batch of an epoch is as small as what is left of it.
- Its shuffle has no seed of its own, and `manual_seed` 0 means none: PyTorch's global generator is seeded here.
- Mixed precision is fp16 with a gradient scaler, on by default; here it is off.
- It writes `outputs/`, `cache_dir/`, `runs/` (TensorBoard) and wandb. Told that it is not the writing process it
  writes nothing; what it has to read, the untrained model, lies in the run's folder until it is done.
- A stopped run cannot go on: neither its shuffle nor its random numbers can be restored.
"""

import os
import shutil
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from runkit.errors import UsageError
from runkit.options import flag
from torch import Tensor, nn
from transformers import PreTrainedModel

from grokked_reasoning.dataset import Data, Rows
from grokked_reasoning.options import TrainOptions
from grokked_reasoning.training.feed import IGNORED
from grokked_reasoning.training.saving import Learner
from grokked_reasoning.training.watch import evaluates, saves

_ONLY = {"optimizer": "adamw", "grokfast": "none", "precision": "fp32", "compile": False}
_SCHEDULES = {
    "constant": "constant_schedule_with_warmup",
    "linear": "linear_schedule_with_warmup",
    "cosine": "cosine_schedule_with_warmup",
}


def train_simple(
    data: Data, options: TrainOptions, model: PreTrainedModel, folder: Path, look: Callable[[Learner], bool]
) -> int:
    """Train `model` in place, on its device, by simpletransformers' loop. Returns the steps made.

    `look` is called before the first step, and after every step that is followed by an evaluation or a checkpoint;
    True stops. `folder` is the run's: its folder `simpletransformers` is there while it trains.

    Raises:
        UsageError: an option that this trainer does not have; an interrupted run that would have to be resumed;
            simpletransformers is not installed.
    """
    check(options, model.device)
    workplace = folder / "simpletransformers"
    if workplace.exists():
        raise UsageError(
            f"{folder} was interrupted, and --trainer simpletransformers cannot go on where it stopped: start "
            "anew with --fresh, or use --trainer native, which can"
        )
    pupil = Pupil(model, options, look)
    loop = _loop(data, options, pupil, workplace)
    torch.manual_seed(options.seed)
    with suppress(_Stopped):
        loop.train(labelled(data.train), str(workplace), show_running_loss=not loop.args.silent)
    shutil.rmtree(workplace)
    return pupil.step


def check(options: TrainOptions, device: torch.device) -> None:
    """Raises UsageError for what simpletransformers' loop does not have, before anything is made."""
    for name, only in _ONLY.items():
        if (value := getattr(options, name)) != only:
            given = flag(name) if value is True else f"{flag(name)} {value}"
            raise UsageError(f"{given}: --trainer simpletransformers does not have it; leave it out, or train natively")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {device}: --trainer simpletransformers trains on cpu and cuda alone")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--trainer simpletransformers trains in one process: start it without a launcher")


def labelled(rows: Rows) -> Int[Tensor, "N 2 T"]:
    """Rows padded to the longest, each beside its labels: -100 but for the tokens that are learned."""
    ids = torch.from_numpy(rows.ids).long()
    start, end = (torch.from_numpy(each)[:, None] for each in (rows.start, rows.start + rows.length))
    place = torch.arange(ids.shape[1])
    return torch.stack([ids, ids.where((place >= start) & (place < end), IGNORED)], dim=1)


class _Stopped(Exception):
    """Leaves simpletransformers' loop, which has no other exit. No error."""


class Pupil(nn.Module):
    """The model as the loop sees it: takes pairs apart, and is looked at between steps. A `Learner`.

    When a forward begins, the step before it is whole: weights, optimizer and schedule have moved on.
    """

    def __init__(self, model: PreTrainedModel, options: TrainOptions, look: Callable[[Learner], bool]) -> None:
        super().__init__()
        self.model, self.step = model, 0
        self.groups: list[dict[str, Any]] = [{"lr": 0.0}]
        self._recipe, self._look, self._begun = options.recipe(), look, False
        self._losses, self._since, self._rate = torch.zeros((), device=model.device), 0, 0.0
        self._gradient = torch.zeros((), device=model.device)
        self._hooks: list[Any] = []

    def forward(self, input_ids: Int[Tensor, "b 2 T"], attention_mask: None, labels: Tensor) -> Any:
        """The language model's output, loss first. `labels` are the inputs once more, as the loop gives them."""
        self.step += self._begun
        self._begun = True
        if self.step == 0 or self._due(self.step):
            self._pause()
        if self._due(self.step + 1):
            self._watch_gradient()
        self._rate = self.groups[0]["lr"]
        ids, labels = input_ids.unbind(1)
        output = self.model(input_ids=ids, attention_mask=attention_mask, labels=labels)
        self._losses += output.loss.detach()
        self._since += 1
        return output

    def told(self) -> dict[str, float]:
        """Mean loss since the last call; rate, norm of the gradient before clipping, and of the weights, now."""
        loss = float(self._losses) / max(1, self._since)
        self._losses, self._since = torch.zeros_like(self._losses), 0
        weights = nn.utils.get_total_norm([each.detach() for each in self.model.parameters()])
        return {
            "loss": loss,
            "learning_rate": self._rate,
            "gradient_norm": float(self._gradient.sqrt()),
            "weight_norm": float(weights),
        }

    def state(self) -> dict[str, Tensor]:
        """Nothing: there is no going on from it."""
        return {}

    def _due(self, step: int) -> bool:
        return evaluates(self._recipe, step) or saves(self._recipe, step)

    def _pause(self) -> None:
        for hook in self._hooks:
            hook.remove()
        if self._look(self) or self.step >= self._recipe.max_steps:
            raise _Stopped
        self.train()

    def _watch_gradient(self) -> None:
        """Keep the norm of the next gradient, which the loop clips and forgets."""
        self._gradient = torch.zeros_like(self._gradient)
        self._hooks = [each.register_post_accumulate_grad_hook(self._add) for each in self.model.parameters()]

    def _add(self, weight: Tensor) -> None:
        if weight.grad is not None:
            self._gradient += weight.grad.square().sum()


def _loop(data: Data, options: TrainOptions, pupil: Pupil, folder: Path) -> Any:
    """simpletransformers' model, which can only be made from a folder, around ours."""
    made, device = _class(), pupil.model.device
    pupil.model.save_pretrained(folder)
    data.vocabulary.tokenizer().save_pretrained(folder)
    place = -1 if device.index is None else device.index
    loop = made(
        "causal", str(folder), args=_arguments(options, folder), use_cuda=device.type == "cuda", cuda_device=place
    )
    theirs = loop.get_optimizer_parameters

    def groups(model: nn.Module, args: Any) -> list[dict[str, Any]]:
        pupil.groups = theirs(model, args)  # the optimizer keeps these very groups, with its rate in them
        return pupil.groups

    loop.model, loop.get_optimizer_parameters = pupil, groups
    loop.is_world_master = lambda: False  # asked before every write
    return loop


def _class() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that its text loaders are gone
            from simpletransformers.language_modeling import LanguageModelingModel
    except ImportError as error:
        raise UsageError(
            f"--trainer simpletransformers: {error}; install it with `pip install simpletransformers`"
        ) from None
    return LanguageModelingModel


def _arguments(options: TrainOptions, folder: Path) -> dict[str, Any]:
    recipe = options.recipe()
    return {
        "mlm": False,
        "train_batch_size": recipe.batch_size,
        "max_steps": recipe.max_steps,
        "learning_rate": recipe.learning_rate,
        "weight_decay": options.weight_decay,
        "max_grad_norm": options.clip,
        "scheduler": _SCHEDULES[options.schedule],
        "warmup_steps": recipe.warmup,
        "warmup_ratio": 0.0,
        "fp16": False,
        "use_multiprocessing": False,
        "save_steps": -1,
        "save_model_every_epoch": False,
        "cache_dir": str(folder / "cache"),
        "wandb_project": None,
        "silent": not sys.stderr.isatty(),
    }
