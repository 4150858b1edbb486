"""Features with known answers, over text that is drawn at random, and what is asked about them."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from expgen import tables
from expgen.options import DescribeOptions

from tests.packages.expgen import made

NOUNS = ("cat", "dog", "boat", "lamp", "river", "stone", "house", "bird", "tree", "song", "coat", "door")
COLOURS = ("red", "blue", "green", "white")
VERBS = ("sees", "finds", "takes", "hears", "leaves")
NAMES = ("Ada", "Ben", "Carla", "Dov")


def texts(seed: int, count: int = 120) -> list[str]:
    """Sentences in which every word of interest stands in many contexts, with numbers and punctuation."""
    dice = random.Random(seed)
    return [" ".join(_sentence(dice) for _ in range(dice.randint(1, 3))) for _ in range(count)]


def _sentence(dice: random.Random) -> str:
    noun, other = dice.sample(NOUNS, 2)
    said = [dice.choice((dice.choice(NAMES), "The " + noun, "A " + dice.choice(COLOURS) + " " + noun)),
            dice.choice(VERBS), dice.choice(("the", "a", "$ " + str(dice.randint(2, 60)), str(dice.randint(2, 9)))),
            dice.choice((dice.choice(COLOURS) + " " + other, other)),
            dice.choice(("not far", "and then", "is", "sum is", "of sum", "of", ""))]  # fmt: skip
    return " ".join(each for each in said if each) + dice.choice([".", ".", "?", ",", "!"])


SPLITS = {split: texts(seed) for seed, split in enumerate(tables.SPLITS)}


def where(fires: Callable[[list[str], int], bool], strength: float = 3.0, sign: int = 1) -> made.Fires:
    """Fires at the places that are said, and weakly, of either sign, at all others."""

    def activations(words: list[str]) -> list[float]:
        said = [word.strip() for word in words]
        noise = [0.02 * ((len(word) * 5 + at) % 7 - 3) for at, word in enumerate(said)]
        return [sign * strength if fires(said, at) else weak for at, weak in enumerate(noise)]

    return activations


def options(folder: Path, **given: Any) -> DescribeOptions:
    """Asks about the exemplars in `folder`/exemplars."""
    asked = {"exemplars": str(folder / "exemplars"), "out": folder / "described" / "run"}
    return DescribeOptions(**{**asked, **given})


def table(folder: Path | None) -> pl.DataFrame:
    assert folder is not None
    return pl.read_parquet(folder / "tables" / "descriptions.parquet")
