"""Trains tiny-reasoner from scratch; stopped at any moment, it goes on and ends with the same bytes.

What happens in step k depends on the configuration and k only: the batch is drawn from a generator seeded by
(seed, k), there is no dropout, and the optimizer's state is in the checkpoint.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from specimens import arithmetic, world
from specimens.text import LEAD, document
from specimens.tokenizer import BOS_ID, CONTEXT, EOS_ID, PAD_ID, train_tokenizer

WEIGHTS = "checkpoint.safetensors"


@dataclass(frozen=True)
class TrainConfig:
    """Everything a run depends on."""

    seed: int
    steps: int
    threads: int
    save_every: int
    rows: int = 8
    length: int = 512
    learning_rate: float = 3e-3
    warmup: int = 200
    weight_decay: float = 0.1
    question_weight: float = 0.2
    world_share: float = 0.15
    continue_share: float = 0.3
    layers: int = 4
    d_model: int = 160
    d_mlp: int = 512
    heads: int = 5
    vocab_size: int = 1536
    tokenizer_documents: int = 20000


@dataclass(frozen=True)
class Sample:
    """A packed batch: token ids and the loss weight of each token, both [rows, length + 1]."""

    ids: Tensor
    weights: Tensor


def training_problem(rng: Random, world_share: float) -> tuple[str, str]:
    """A random (question, answer) of the training mixture."""
    one = world.training_question(rng) if rng.random() < world_share else arithmetic.problem(rng)
    return one.question, one.answer


def training_documents(config: TrainConfig) -> Iterator[str]:
    """The documents the tokenizer is learned from: a sample of the training mixture, the same for the same seed."""
    rng = Random(f"tokenizer/{config.seed}")
    return (document(*training_problem(rng, config.world_share)) for _ in range(config.tokenizer_documents))


def build_tokenizer(config: TrainConfig) -> PreTrainedTokenizerFast:
    """The tokenizer, learned from a sample of the training documents."""
    return train_tokenizer(training_documents(config), config.vocab_size)


def build_model(config: TrainConfig) -> LlamaForCausalLM:
    """The untrained model, its weights a function of the seed."""
    torch.manual_seed(config.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.d_mlp,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=BOS_ID,
            eos_token_id=EOS_ID,
            pad_token_id=PAD_ID,
        )
    )


class Packer:
    """Cuts random documents, packed back to back, into the batch of a step."""

    def __init__(self, config: TrainConfig, tokenizer: PreTrainedTokenizerFast) -> None:
        self.config, self.encoder = config, tokenizer.backend_tokenizer

    def batch(self, step: int) -> Sample:
        """The batch of a step: a function of (seed, step)."""
        rng = Random(f"batch/{self.config.seed}/{step}")
        rows = [self._row(rng) for _ in range(self.config.rows)]
        return Sample(torch.tensor([ids for ids, _ in rows]), torch.tensor([weights for _, weights in rows]))

    def _row(self, rng: Random) -> tuple[list[int], list[float]]:
        ids: list[int] = []
        weights: list[float] = []
        size = self.config.length + 1
        while len(ids) < size:
            for part, weight in self._document(rng):
                ids += part
                weights += [weight] * len(part)
        return ids[:size], weights[:size]

    def _document(self, rng: Random) -> list[tuple[list[int], float]]:
        """One problem, or several joined by blank lines as in a few-shot prompt, between begin and end of text."""
        parts: list[tuple[list[int], float]] = [([BOS_ID], 0.0)]
        while True:
            head, tail = document(*training_problem(rng, self.config.world_share)).split(LEAD)
            parts += [(self._ids(head), self.config.question_weight), (self._ids(LEAD + tail), 1.0)]
            if rng.random() >= self.config.continue_share:
                return [*parts, ([EOS_ID], 1.0)]
            parts.append((self._ids("\n\n"), 1.0))

    def _ids(self, text: str) -> list[int]:
        return self.encoder.encode(text, add_special_tokens=False).ids


def weighted_loss(logits: Tensor, sample: Sample) -> Tensor:
    """Mean cross-entropy of the next token, weighted by the token predicted. logits: [rows, length, vocab]."""
    losses = nn.functional.cross_entropy(logits.flatten(0, 1).float(), sample.ids[:, 1:].flatten(), reduction="none")
    weights = sample.weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to zero at the last step."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


class Trainer:
    """Model, optimizer and data of a run, at some step."""

    def __init__(self, config: TrainConfig) -> None:
        torch.set_num_threads(config.threads)
        self.config, self.step = config, 0
        self.losses: list[tuple[int, float]] = []
        self.tokenizer = build_tokenizer(config)
        self.model = build_model(config).train()
        self.packer = Packer(config, self.tokenizer)
        matrices = [p for p in self.model.parameters() if p.ndim == 2]
        gains = [p for p in self.model.parameters() if p.ndim == 1]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": gains, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)

    def advance(self) -> float:
        """Does one step and returns its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        sample = self.packer.batch(self.step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.model(input_ids=sample.ids[:, :-1], use_cache=False).logits
        loss = weighted_loss(logits, sample)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    def save(self, folder: Path) -> None:
        """Writes weights, optimizer state and step to one file, atomically."""
        tensors = {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
        part = folder / f"{WEIGHTS}.part"
        told = {"step": self.step, "losses": self.losses, "config": asdict(self.config)}
        save_file(tensors, part, {"run": json.dumps(told)})  # one key: safetensors writes several in random order
        part.replace(folder / WEIGHTS)

    def restore(self, folder: Path) -> None:
        """Goes back to the last saved step, if there is one.

        Raises:
            ValueError: it was saved by a run of another configuration.
        """
        if not (folder / WEIGHTS).exists():
            return
        with safe_open(folder / WEIGHTS, "pt") as saved:
            told = json.loads(saved.metadata()["run"])
            if told["config"] != asdict(self.config):
                raise ValueError(
                    f"{folder / WEIGHTS} was trained with other options: {told['config']}. Choose another folder."
                )
            tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118  # safe_open is no mapping
        self.step, self.losses = told["step"], [tuple(pair) for pair in told["losses"]]
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(tensors[f"model.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})


def train(
    config: TrainConfig,
    folder: Path,
    on_save: Callable[[int, float, float], None] | None = None,
    before_save: Callable[[Trainer], None] | None = None,
) -> Trainer:
    """Trains, or goes on training, in a folder; returns the finished trainer.

    Every `save_every` steps it saves, and reports step, mean loss since the last save, and seconds since then. What
    `before_save` keeps is kept whatever kill comes: it is called again where the save did not come about.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config)
    trainer.restore(folder)
    while trainer.step < config.steps:
        start, losses = time.perf_counter(), []
        while trainer.step < config.steps and (not losses or trainer.step % config.save_every):
            losses.append(trainer.advance())
        trainer.losses.append((trainer.step, sum(losses) / len(losses)))
        if before_save is not None:
            before_save(trainer)
        trainer.save(folder)
        if on_save is not None:
            on_save(*trainer.losses[-1], time.perf_counter() - start)
    return trainer
