"""Kinds of steps that nobody named: clusters of what the base model makes of them (arm `planned`).

Wang et al. (2023), section 3: the question and all steps are read at once; a step is the mean of the last layer's
hidden states over its tokens; k-means.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import actkit
import numpy as np
import torch
from jaxtyping import Float
from runkit.errors import UsageError
from runkit.progress import track
from sklearn.cluster import KMeans
from torch import Tensor

from memreason.codec import Codec, Rendered
from memreason.options import TrainOptions
from memreason.scheme import TokenScheme
from memreason.trace import Item


def planned(rows: Sequence[Item], model: actkit.Model, options: TrainOptions) -> list[list[int]]:
    """The cluster of each step of each item. The model is the base, before it is given rows or adapters.

    What does not fit its context is not looked at, and is of cluster 0; with an arm's tokens it does not fit either.

    Raises:
        UsageError: fewer steps than clusters.
    """
    codec = Codec(cast("Any", model.tokenizer), TokenScheme(arm="none", general=0, special=0, chat=options.chat))
    read = [codec.render(row.trace) for row in rows]
    long = set(model.too_long([each.ids for each in read]))
    states = _states([each for number, each in enumerate(read) if number not in long], model, options.batch_size)
    if len(states) < options.plans:
        raise UsageError(f"--plans {options.plans}: the traces have {len(states)} steps in all, fewer than clusters")
    found = iter(KMeans(options.plans, n_init=cast("Any", 10), random_state=options.seed).fit_predict(states).tolist())
    return [[0 if number in long else next(found) for _ in row.trace.steps] for number, row in enumerate(rows)]


def relabelled(rows: Sequence[Item], plans: Sequence[Sequence[int]]) -> list[Item]:
    """The items with their steps' clusters as kinds."""
    return [
        row._replace(trace=row.trace.relabelled(tuple(f"plan{each}" for each in found)))
        for row, found in zip(rows, plans, strict=True)
    ]


def _states(read: Sequence[Rendered], model: actkit.Model, size: int) -> Float[np.ndarray, "S d"]:
    """One row per step, in order."""
    last, found, room = f"resid_post.{model.dims.layers - 1}", list[Tensor](), actkit.Room()

    def states(some: Sequence[Rendered]) -> list[Tensor]:
        batch = model.encode([each.ids for each in some], pad="right")
        whole = model.run(batch, capture=last, logits=None)[last].float()
        marked = [(row, mark) for row, each in zip(whole, some, strict=True) for mark in each.marks]
        return [row[mark.start : mark.end].mean(0) for row, mark in marked if mark.part == "text"]

    for first in track(range(0, len(read), size), "batches read for clusters"):
        found += chain.from_iterable(room(read[first : first + size], states))
    return torch.stack(found).cpu().numpy() if found else np.empty((0, model.dims.d_model))
