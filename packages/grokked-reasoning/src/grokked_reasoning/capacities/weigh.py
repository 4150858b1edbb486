"""What one model knows: its losses on every question it was trained on, as bits, with intervals."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import polars as pl
from jaxtyping import Float
from runkit.tables import columns
from transformers import PreTrainedModel

from grokked_reasoning import scoring, tables
from grokked_reasoning.capacities import bits
from grokked_reasoning.capacities.bits import ALL, Knowable, Scheme, Selection
from grokked_reasoning.capacities.questions import Exam
from grokked_reasoning.dataset import Rows

DRAWS = 200
"""Resamples of the questions for the 95 % interval."""
_SCHEMES: dict[str, tuple[Scheme, ...]] = {
    "one-hop": ("average", "per-attribute"),
    "two-hop": ("average", "per-attribute", "2-hop-big-hash", "2-hop-double"),
}
ByQuestion = Mapping[str, Float[np.ndarray, " n"]]
"""Loss of every question in bits, per subject."""
Key = tuple[str, str, str]
"""Questions, scheme, attribute."""


def losses(model: PreTrainedModel, rows: Rows, batch_size: int) -> ByQuestion:
    """The loss of every answer in bits, per kind of row."""
    lost = scoring.score(model, rows, batch_size).nll.double().cpu().numpy() / np.log(2)
    return {str(kind): lost[rows.kinds == kind] for kind in np.unique(rows.kinds)}


def parameters(model: PreTrainedModel) -> tuple[int, int]:
    """How many there are, and how many without token and position embeddings; what is shared counts once."""
    body = cast("Any", model).transformer
    total = sum(each.numel() for each in model.parameters())
    return total, total - body.wte.weight.numel() - body.wpe.weight.numel()


def weigh(
    exam: Exam, lost: Mapping[str, ByQuestion], selection: Selection, sizes: tuple[int, int], seed: int
) -> pl.DataFrame:
    """One row per scheme and attribute (tables.Capacity without what it says of the training run).

    `lost` is by questions ("one-hop", "two-hop"), `sizes` are the parameters. The interval is that of capacities of
    questions drawn anew, subject by subject, with replacement.
    """
    generator = np.random.default_rng(seed)
    found = _capacities(exam, _means(lost), selection)
    draws = [_capacities(exam, _means(_resampled(lost, generator)), selection) for _ in range(DRAWS)]
    zero = {questions: dict.fromkeys(subjects, 0.0) for questions, subjects in lost.items()}
    most = _capacities(exam, zero, selection)
    records = []
    for (questions, scheme, attribute), known in found.items():
        low, high = np.quantile([draw[questions, scheme, attribute] for draw in draws], [0.025, 0.975])
        n, loss = _asked(lost, questions, attribute)
        entropy = most[questions, scheme, attribute]
        records.append((*sizes, questions, scheme, attribute, n, loss, entropy, known, low, high, known / sizes[0]))
    return pl.DataFrame(records, {name: columns(tables.Capacity)[name] for name in _COLUMNS}, orient="row")


_COLUMNS = (
    "parameters", "body_parameters", "questions", "scheme", "attribute", "n", "loss", "entropy", "capacity", "low",
    "high", "bits_per_parameter",
)  # fmt: skip


def _capacities(exam: Exam, means: Mapping[str, bits.Losses], selection: Selection) -> dict[Key, float]:
    """Bits by every scheme that these questions allow."""
    world: Knowable = exam.world
    found: dict[Key, float] = {}
    for questions, mean in means.items():
        times = exam.stored if questions == "two-hop" else 1.0
        for scheme in _SCHEMES[questions]:
            told = bits.capacity(scheme, world, mean, selection, times)
            found |= {(questions, scheme, attribute): known for attribute, known in told.items()}
    if "two-hop" in means:
        hashed = found["two-hop", "2-hop-big-hash", ALL]
        found["both", "2-hop-big-hash", ALL] = hashed + bits.more(world, means["one-hop"])
    return found


def _means(lost: Mapping[str, ByQuestion]) -> dict[str, dict[str, float]]:
    return {
        questions: {subject: float(each.mean()) for subject, each in subjects.items()}
        for questions, subjects in lost.items()
    }


def _resampled(lost: Mapping[str, ByQuestion], generator: np.random.Generator) -> dict[str, ByQuestion]:
    return {
        questions: {subject: each[generator.integers(len(each), size=len(each))] for subject, each in subjects.items()}
        for questions, subjects in lost.items()
    }


def _asked(lost: Mapping[str, ByQuestion], questions: str, attribute: str) -> tuple[int, float | None]:
    """How many questions, and their mean loss; of several kinds together there is none."""
    if questions == "both":
        return sum(len(each) for subjects in lost.values() for each in subjects.values()), None
    chosen = lost[questions]
    parts = list(chosen.values()) if attribute == ALL else [chosen[attribute]]
    return sum(map(len, parts)), float(np.mean([part.mean() for part in parts]))
