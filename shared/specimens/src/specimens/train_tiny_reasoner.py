"""The stage `train-tiny-reasoner`: trains, evaluates, and writes the Hugging Face folder that ships."""

import json
from pathlib import Path

import polars as pl
from runkit import StageRun, stage

from specimens.evaluation import evaluate
from specimens.options import TrainOptions
from specimens.record import ship
from specimens.tables import Losses, Scores
from specimens.training import TrainConfig, Trainer, train

_PROGRESS = "progress.jsonl"
_KEPT = "checkpoints"


def train_tiny_reasoner(options: TrainOptions) -> None:
    """Writes model/ (the folder that ships), tables losses and scores; killed and started again, the same bytes."""
    with stage("specimens.train-tiny-reasoner", options) as run:
        if run.finished:
            return
        _run(run, options)


def _run(run: StageRun, options: TrainOptions) -> None:
    config = TrainConfig(seed=options.seed, steps=options.steps, threads=options.threads, save_every=options.save_every)
    work = run.folder / "checkpoint"
    trainer = train(
        config,
        work,
        lambda step, loss, seconds: _report(run, config, step, loss, seconds),
        lambda trainer: _keep(trainer, run.folder / _KEPT) if trainer.step in options.keep else None,
    )
    if options.keep:
        run.artifact(_KEPT)
    run.table("losses", pl.DataFrame(trainer.losses, schema=["step", "loss"], orient="row"), Losses)
    scores = evaluate(trainer.model.eval(), trainer.tokenizer, options.problems)
    frame = pl.DataFrame([score._asdict() for score in scores]).with_columns(
        chain_accuracy=pl.col("right_chains") / pl.col("problems"),
        answer_accuracy=pl.col("right_answers") / pl.col("problems"),
    )
    run.table("scores", frame, Scores)
    run.metrics({f"right_chain {s.axis} {s.group}": s.right_chains / s.problems for s in scores if s.group == "all"})
    ship(trainer, scores, _seconds(work), run.folder / "model")
    run.model("model", kind="weights", name="tiny-reasoner")


def _report(run: StageRun, config: TrainConfig, step: int, loss: float, seconds: float) -> None:
    """Tells how far training is, and keeps the time it took for the run record."""
    with (run.folder / "checkpoint" / _PROGRESS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "seconds": seconds}) + "\n")
    run.metrics({"loss": loss}, step=step)
    run.log(f"step {step} of {config.steps}: loss {loss:.4f}")


def _keep(trainer: Trainer, folder: Path) -> None:
    """A Hugging Face folder of the model as it is now."""
    place = folder / f"checkpoint-{trainer.step}"
    trainer.model.save_pretrained(place)
    trainer.tokenizer.save_pretrained(place)


def _seconds(work: Path) -> float:
    lines = (work / _PROGRESS).read_text(encoding="utf-8").splitlines()
    return sum({told["step"]: told["seconds"] for told in map(json.loads, lines)}.values())
