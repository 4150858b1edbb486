"""What the tests of scoring have in common: a made run, its descriptions, and simulators that predict on order."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from expgen import tables
from expgen.simulating import Asked, Prediction, Simulator
from expgen.store import Exemplars, Feature

from tests.packages.expgen import made

COLOURS = ("red", "blue", "green", "grey", "pink", "black", "white", "brown")
_WORDS = (*COLOURS, "the", "a", "car", "bird", "sings", "stone", "near", "runs", "and", "sea")


def texts(count: int = 30, seed: int = 0, words: Sequence[str] = _WORDS) -> dict[str, list[str]]:
    """Texts of twelve words by split, each with a first word that is no feature's."""
    dice = random.Random(seed)
    return {split: [" ".join(["so", *dice.choices(words, k=11)]) for _ in range(count)] for split in tables.SPLITS}


def run(folder: Path, features: Sequence[made.Fires] | None = None, **more) -> Exemplars:
    """A finished run whose neuron i fires on colour i."""
    given = [made.on(colour) for colour in COLOURS] if features is None else features
    return Exemplars.open(str(made.store(folder, more.pop("texts", texts()), given, k=more.pop("k", 10), **more)))


def neuron(number: int, polarity: str = "+") -> Feature:
    return Feature("made", "mlp_post", 0, number, polarity)


def descriptions(path: Path, said: Sequence[Sequence[str | None]], polarity: str = "+", **more) -> Path:
    """A table that says `said[i]` of neuron i; None: the explainer failed."""
    rows = [
        {**neuron(number, polarity)._asdict(), "candidate": i, "explainer": "made", "description": text,
         "status": "error" if text is None else "ok", "reason": "HTTP 500" if text is None else None, "shown": [0],
         **more}
        for number, each in enumerate(said)
        for i, text in enumerate(each)
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema=tables.columns(tables.Descriptions)).write_parquet(path)
    return path


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


class Scripted(Simulator):
    """Predicts what a function of description and words says; a string is the reason why there is no prediction."""

    name = "scripted"

    def __init__(self, says: Callable[[str, list[str]], Sequence[float] | str]) -> None:
        self.says = says
        self.asked: list[Asked] = []

    def predict(self, asked: Sequence[Asked]) -> Iterator[Prediction]:
        for each in asked:
            self.asked.append(each)
            said = self.says(each.description, made.words(each.text.text))
            yield Prediction(None, said) if isinstance(said, str) else Prediction(np.array(said, dtype=float))
