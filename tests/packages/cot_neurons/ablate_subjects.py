"""A planted model that writes 2 + 3 = 5 only because of two of its neurons, and what it says worked out with NumPy."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from cot_neurons.ablate import ablate
from cot_neurons.options import AblateOptions
from jaxtyping import Float
from specimens import planted
from specimens.planted import PROMPT, STORY_VOTE, Plant

from tests.packages.cot_neurons import made

STORY = "2 apples and three more make 2 + 3 = 6 fruits.\nThe answer is 7."
"""What the model would say without its neurons."""
SOLUTION = "2 apples and three more make 2 + 3 = 5 fruits.\nThe answer is 5."
"""What it says, and the reference solution."""
GROUPS = [*["rest"] * 7, *["+"] * 4, *["rest"] * 4, "gold"]
"""What each token of the solution belongs to."""
NEURONS = {"add": (1, 5), "equals_to": (2, 0), "multiply": (3, 7)}
PLANTS = {
    (1, 5): Plant(1, 5, (" =",), (" 5", " equals"), size=12.0),
    (2, 0): Plant(2, 0, (" is",), (" 5.",), sign=-1, size=12.0),
    (3, 7): Plant(3, 7, (" +", " more.", " step\n"), (" sum", " 3", "2"), sign=-1, size=2.5),  # decides nothing
    (0, 1): Plant(0, 1, (" 5",), (" fruits.\n",), size=12.0),
    (0, 2): Plant(0, 2, (" 5.",), ("</s>",), size=12.0),
}
Neuron = tuple[int, int]
Change = Callable[[float], float]
"""What becomes of an activation."""


@cache
def tokenizer() -> Any:
    return planted.tokenizer(list(PLANTS.values()), chain=STORY)


def save(folder: Path) -> str:
    """Write the model and its tokenizer."""
    planted.planted_model(list(PLANTS.values()), chain=STORY).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def items(count: int = 3, **changed: pl.Expr) -> pl.DataFrame:
    """Table `items` of the model: every problem has the same prompt, chain and reference solution."""
    frame = made.items(
        "planted", tokenizer(), prompts=[PROMPT] * count, chains=[SOLUTION] * count, right=[True] * count
    )
    return frame.with_columns(solution=pl.lit(SOLUTION)).with_columns(**changed)


def labels(neurons: Mapping[str, Neuron] = NEURONS, model: str = "planted") -> pl.DataFrame:
    """Table `labels`, a concept per neuron."""
    return made.labels(model, [(*neuron, "+", concept) for concept, neuron in neurons.items()])


def run(place: Path, **given: Any) -> Path:
    """The stage on the model, its items and labels in `place`, with few controls; its folder."""
    paths = {"model": str(place / "planted"), "items": str(place / "items.parquet"), "labels": str(place / "l.parquet")}
    if not (place / "planted").exists():
        save(place / "planted")
        made.save(items(), place / "items.parquet")
        made.save(labels(), place / "l.parquet")
    few = {"min_auroc": 0.0, "draws": 1, "controls": ("random",)}
    return ablate(AblateOptions.model_validate({**paths, **few, **given}))


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


def targets(folder: Path, name: str) -> dict[tuple[str, float], pl.DataFrame]:
    """Rows of outcomes or effects of each concept's own condition, by concept and amount."""
    conditions = table(folder, "conditions").filter(kind="target")
    rows = table(folder, name)
    return {
        (concept, amount): rows.filter(condition=number)
        for number, concept, amount in conditions.select("condition", "concept", "amount").rows()
    }


def ids(text: str) -> list[int]:
    return tokenizer()(text)["input_ids"]


def logits(token: int, change: Mapping[Neuron, Change]) -> Float[np.ndarray, " V"]:
    """After a token: the story's vote, and each plant's activation times its weights, of some after a change."""
    vocab = tokenizer().get_vocab()
    votes = np.zeros(len(vocab))
    told = [ids(PROMPT)[-1], *ids(STORY), vocab["</s>"]]
    for before, after in pairwise(told):
        if before == token:
            votes[after] = STORY_VOTE
    for neuron, plant in PLANTS.items():
        m = change.get(neuron, float)(mean(neuron, [token]))
        for word, weight in zip(plant.promotes, plant.weights, strict=True):
            votes[vocab[word.replace(" ", "Ġ").replace("\n", "Ċ")]] += m * weight
    return votes


def mean(neuron: Neuron, tokens: Sequence[int]) -> float:
    """Its mean activation over these tokens."""
    plant = PLANTS[neuron]
    return plant.activation * float(np.isin(tokens, [ids(word)[0] for word in plant.fires_on]).mean())


def scored(tokens: Sequence[int], start: int, change: Mapping[Neuron, Change]) -> Float[np.ndarray, "S 2"]:
    """Log-probability and log-odds of each token from `start` on, given the one before it."""
    scores = []
    for before, token in list(pairwise(tokens))[start - 1 :]:
        votes = logits(before, change)
        odds = votes[token] - np.logaddexp.reduce(np.delete(votes, token))
        scores.append((votes[token] - np.logaddexp.reduce(votes), odds))
    return np.array(scores)
