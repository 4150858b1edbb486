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

import math
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
from runkit.errors import DataError, UsageError
from runkit.options import flag
from torch import Tensor, nn
from transformers import PreTrainedModel

from grokked_reasoning.dataset import Data, Rows
from grokked_reasoning.options import TrainOptions
from grokked_reasoning.training.feed import IGNORED

WORKPLACE = "simpletransformers"
"""Folder below the run's, there while it trains."""
_ONLY = {"optimizer": "adamw", "grokfast": "none", "precision": "fp32", "compile": False}
_SCHEDULES = {
    "constant": "constant_schedule_with_warmup",
    "linear": "linear_schedule_with_warmup",
    "cosine": "cosine_schedule_with_warmup",
}


def train_simple(
    data: Data,
    options: TrainOptions,
    model: PreTrainedModel,
    folder: Path,
    on_evaluate: Callable[[PreTrainedModel, int], bool],
) -> int:
    """Train `model` in place, where it is, by simpletransformers' loop. Returns the steps made.

    `on_evaluate(model, step)` is called after every `evaluate_every` steps and after the last one; True stops.

    Raises:
        UsageError: an option that this trainer does not have; an interrupted run that would have to be resumed;
            simpletransformers is not installed.
        DataError: the loss is not finite.
    """
    check(options, model.device)
    workplace = folder / WORKPLACE
    if workplace.exists():
        raise UsageError(
            f"{folder} was interrupted, and --trainer simpletransformers cannot go on where it stopped: start anew "
            "with --fresh, or use --trainer native, which can"
        )
    watched = Watched(model, options, on_evaluate)
    loop = _loop(data, options, model, workplace)
    loop.model = watched
    torch.manual_seed(options.seed)
    with suppress(_Stopped):
        loop.train(labelled(data.train), str(workplace), show_running_loss=not loop.args.silent)
    shutil.rmtree(workplace)
    return watched.steps


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
    """Leaves simpletransformers' loop."""


class Watched(nn.Module):
    """The model as the loop sees it: takes pairs apart, and calls back between steps.

    When a forward begins, the step before it is whole: weights, optimizer and schedule have moved on.
    """

    def __init__(
        self, lm: PreTrainedModel, options: TrainOptions, on_evaluate: Callable[[PreTrainedModel, int], bool]
    ) -> None:
        super().__init__()
        self.lm, self.steps = lm, 0
        self._begun, self._on_evaluate = False, on_evaluate
        recipe = options.recipe()
        self._every, self._last = recipe.evaluate_every, recipe.max_steps
        self._loss = torch.zeros(())

    def forward(self, input_ids: Int[Tensor, "b 2 T"], attention_mask: None, labels: Tensor) -> Any:
        """The language model's output, loss first. `labels` are the inputs once more, as the loop gives them."""
        if self._begun:
            self.steps += 1
            self._between()
        self._begun = True
        ids, labels = input_ids.unbind(1)
        output = self.lm(input_ids=ids, attention_mask=attention_mask, labels=labels)
        self._loss = output.loss.detach()
        return output

    def _between(self) -> None:
        last = self.steps == self._last
        if last or self.steps % self._every == 0:
            if not math.isfinite(float(self._loss)):
                raise DataError(f"step {self.steps}: the loss is {float(self._loss)}: try a lower --learning-rate")
            if self._on_evaluate(self.lm, self.steps) or last:
                raise _Stopped
            self.train()


def _loop(data: Data, options: TrainOptions, model: PreTrainedModel, workplace: Path) -> Any:
    """simpletransformers' model, which can only be made from a folder; it holds a copy of ours for a moment."""
    made = _class()
    model.save_pretrained(workplace)
    data.vocabulary.tokenizer().save_pretrained(workplace)
    cuda = model.device.type == "cuda"
    place = model.device.index if model.device.index is not None else -1
    loop = made("causal", str(workplace), args=_arguments(options, workplace), use_cuda=cuda, cuda_device=place)
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


def _arguments(options: TrainOptions, workplace: Path) -> dict[str, Any]:
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
        "cache_dir": str(workplace / "cache"),
        "wandb_project": None,
        "silent": not sys.stderr.isatty(),
    }
