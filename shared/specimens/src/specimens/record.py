"""What is told about a trained tiny-reasoner: the run record `run.json`, and the model card made from it alone."""

import hashlib
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from specimens.evaluation import Score
from specimens.training import Trainer, training_documents

RECORD = "run.json"
_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors")
_CURVE_POINTS = 30


def ship(trainer: Trainer, scores: Sequence[Score], seconds: float, folder: Path) -> None:
    """Writes model, tokenizer, run record and model card as one Hugging Face folder.

    `seconds` is the time training took, all attempts together.
    """
    trainer.model.save_pretrained(folder)
    trainer.tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    told = run_record(trainer, scores, seconds, folder)
    (folder / RECORD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(told), encoding="utf-8")


def data_digest(documents: Iterable[str]) -> str:
    """SHA-256 of documents, each ended by a zero byte."""
    digest = hashlib.sha256()
    for one in documents:
        digest.update(one.encode() + b"\0")
    return digest.hexdigest()


def run_record(trainer: Trainer, scores: Sequence[Score], seconds: float, folder: Path) -> dict[str, Any]:
    """Everything about a run as plain JSON values; each is measured or read from what made the model."""
    config, losses = trainer.config, trainer.losses
    every = max(1, len(losses) // _CURVE_POINTS)
    weights = folder / "model.safetensors"
    return {
        "config": asdict(config),
        "parameters": trainer.model.num_parameters(),
        "bytes": sum(p.stat().st_size for p in (weights, folder / "tokenizer.json")),
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "data_sha256": data_digest(training_documents(config)),
        "tokens": trainer.step * config.rows * config.length,
        "seconds": round(seconds),
        "losses": [*losses[:-1:every], losses[-1]],
        "scores": [score._asdict() for score in scores],
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES},
        "machine": {"processor": platform.machine(), "threads": config.threads},
    }


def model_card(told: dict[str, Any]) -> str:
    """The README of a model folder, from its run record."""
    config, versions = told["config"], told["versions"]
    rows = "\n".join(_row(score) for score in told["scores"])
    return f"""---
license: mit
language: en
library_name: transformers
pipeline_tag: text-generation
---
# tiny-reasoner

A Llama-shaped model of {told["parameters"]:,} parameters ({config["layers"]} layers, width {config["d_model"]}, \
{config["d_mlp"]} neurons and {config["heads"]} heads per layer, {told["bytes"] / 1e6:.1f} MB), trained on \
self-made text: arithmetic word problems of one to four steps with step-by-step solutions, and facts about a small \
invented world. It is a specimen to look into, not a model to use: it has seen no other text and no number above 200.

## Prompt

```text
Question: Emma has 12 shells. Then Tom gives her 7 shells. How many shells does Emma have now?
Let's think step by step
```

The model goes on with one sentence per line, then `The answer is N.` and the end of text. No demonstrations are needed.

## How well it does

Greedy; no demonstrations but in `few-shot`. A chain is right when every equation in it is true, the results are \
those of the reference solution in its order, and so is the answer; for the world, when exactly the right facts \
are stated. No problem of \
`in-distribution` occurs in training, nor the same story with the same numbers under other names or in other words; \
the other axes also use names, story pieces or numbers (above 200) that training never shows. All facts of the world \
are in training, the held-out two-step questions are not. `few-shot` asks problems of `in-distribution` after solved \
ones; training windows are {config["length"]} tokens long, and on prompts longer than that the model breaks down.

| axis | problems | count | right chain | right answer |
|---|---|---:|---:|---:|
{rows}

## Training

{config["steps"]:,} steps, {told["tokens"] / 1e6:.1f} million tokens, {told["seconds"] / 60:.0f} minutes on \
{told["machine"]["threads"]} CPU thread(s); loss {told["losses"][0][1]:.3f} (step {told["losses"][0][0]}) to \
{told["losses"][-1][1]:.3f}. Seed {config["seed"]}; Python {versions["python"]}, torch {versions["torch"]}, \
transformers {versions["transformers"]}. The same again: `specimens train-tiny-reasoner`. The whole record: `{RECORD}`.
"""


def _row(score: dict[str, Any]) -> str:
    n = score["problems"]
    shares = f"{100 * score['right_chains'] / n:.1f} % | {100 * score['right_answers'] / n:.1f} %"
    return f"| {score['axis']} | {score['group']} | {n} | {shares} |"
