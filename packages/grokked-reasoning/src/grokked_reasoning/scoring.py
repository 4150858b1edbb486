"""What a model makes of rows: are the tokens asked for the most likely ones, and how surprising are they.

One forward of the Hugging Face model gives every token of a row its probability at once. Rows of one shape (first
place asked for, tokens asked for) go through together, so there is no padding, and only the places that are asked for
go through the head. Greedy decoding gives the right answer just when every token of it is the most likely one after
the right ones before it, so this is the accuracy that decoding would give (spec: Wang et al. 2024, eval_qa.py).
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import actkit
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from grokked_reasoning.dataset import Rows
from grokked_reasoning.vocabulary import ANSWER, END, Vocabulary

UNTYPED = "untyped"


def markers(vocabulary: Vocabulary) -> list[int]:
    """Ids of the tokens after the prompt that are no part of an answer: </q>, <a> and </a>, where there are such."""
    return [vocabulary.ids[each] for each in ("</q>", ANSWER, END) if each in vocabulary.ids]


class Scores(NamedTuple):
    """Of N rows, as tensors on the model's device.

    right: every token of the answer is the most likely one; exact: every token asked for is, markers too; nll: sum of
    the answer tokens' -log p, in nats. Without markers among the tokens asked for, `exact` is `right`.
    """

    right: Bool[Tensor, " N"]
    exact: Bool[Tensor, " N"]
    nll: Float[Tensor, " N"]


class Total(NamedTuple):
    """Means over the rows of a type."""

    kind: str
    n: int
    accuracy: float
    exact: float
    nll: float


class Shape(NamedTuple):
    """The rows that begin to be asked at one place, for equally many tokens."""

    rows: Int[Tensor, " n"]
    inputs: Int[Tensor, "n T"]
    targets: Int[Tensor, "n A"]
    answer: Bool[Tensor, "n A"]


@dataclass(frozen=True, eq=False)
class Questions:
    """Rows on a device, by shape: made once, scored as often as wanted without a copy from the host.

    kinds: the types there are, by name; kind: [N], each row's type as a place among them.
    """

    shapes: list[Shape]
    kinds: list[str]
    kind: Int[Tensor, " N"]

    @classmethod
    def of(cls, rows: Rows, device: torch.device | str = "cpu", aside: Collection[int] = ()) -> "Questions":
        """The rows. `aside`: ids of tokens that are no part of an answer where they are asked for (see `markers`)."""
        spans = np.stack([rows.start, rows.length], axis=1)
        found, group = np.unique(spans, axis=0, return_inverse=True)
        group = group.reshape(-1)
        shapes = [_shape(rows, np.flatnonzero(group == i), span, aside) for i, span in enumerate(found)]
        kinds, kind = np.unique(rows.kinds, return_inverse=True)
        moved = [Shape(*(part.to(device) for part in shape)) for shape in shapes]
        return cls(moved, [str(each) or UNTYPED for each in kinds], torch.as_tensor(kind.reshape(-1), device=device))

    def __len__(self) -> int:
        return len(self.kind)


def _shape(rows: Rows, which: np.ndarray, span: np.ndarray, aside: Collection[int]) -> Shape:
    start, length = span.tolist()
    ids = torch.as_tensor(rows.ids[which, : start + length].astype(np.int64))
    targets = ids[:, start:]
    answer = ~torch.isin(targets, torch.tensor(list(aside), dtype=torch.int64))
    return Shape(torch.as_tensor(which), ids[:, :-1], targets, answer)


def score(model: PreTrainedModel, rows: Rows, batch_size: int, aside: Collection[int] = ()) -> Scores:
    """Score rows, which go to the model's device; their results stay there. See `Questions.of` for `aside`."""
    return measure(model, Questions.of(rows, model.device, aside), batch_size)


@torch.no_grad()
def measure(model: PreTrainedModel, questions: Questions, batch_size: int) -> Scores:
    """Score rows that are on the model's device, at most `batch_size` per forward, in evaluation mode."""
    n, device = len(questions), questions.kind.device
    right, exact = (torch.zeros(n, dtype=torch.bool, device=device) for _ in range(2))
    nll = torch.zeros(n, device=device)
    room = actkit.Room()

    def fill(shape: Shape, some: Sequence[int]) -> None:
        rows, inputs, targets, answer = (part[some[0] : some[-1] + 1] for part in shape)
        logits = _logits(model, inputs, targets.shape[1])
        hit = logits.argmax(-1) == targets
        lost = (logits.logsumexp(-1) - logits.gather(-1, targets[..., None])[..., 0]).clamp(min=0)
        right[rows], exact[rows] = (hit | ~answer).all(-1), hit.all(-1)
        nll[rows] = (lost * answer).sum(-1)

    with evaluating(model):
        for shape in questions.shapes:
            for start in range(0, len(shape.rows), batch_size):
                room(range(len(shape.rows))[start : start + batch_size], partial(fill, shape))
    return Scores(right, exact, nll)


def by_kind(scores: Scores, questions: Questions) -> list[Total]:
    """Means per type, in the order of their names; one copy to the host."""
    count = len(questions.kinds)
    columns = torch.stack([torch.ones_like(scores.nll), *(each.to(scores.nll.dtype) for each in scores)], dim=1)
    # In double precision, so that a sum does not depend on the order in which a device adds.
    sums = torch.zeros(count, 4, dtype=torch.float64, device=scores.nll.device)
    sums.index_add_(0, questions.kind, columns.double())
    return [
        Total(kind, int(n), right / n, exact / n, nll / n)
        for kind, (n, right, exact, nll) in zip(questions.kinds, sums.tolist(), strict=True)
    ]


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode inside, the mode it was in outside."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)


def _logits(model: Any, inputs: Int[Tensor, "b T"], asked: int) -> Float[Tensor, "b A V"]:
    """Logits, in float32, of the last tokens."""
    return model(input_ids=inputs, use_cache=False, logits_to_keep=asked).logits.float()
