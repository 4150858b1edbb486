"""Type tokens of one step changed, everything else as it was: what its own text is then worth, and what is written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import actkit
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from memreason.attending.drawn import Drawn
from memreason.codec import Codec
from memreason.student import Student
from memreason.trace import KINDS, MEMORY, REASON, Step

EDITS = NONE, ABLATE, SWAP = ("none", "ablate", "swap")
OTHER = {MEMORY: REASON, REASON: MEMORY}
_ROOM = 8  # tokens more than the longest step has
_LOGITS = 1 << 27  # numbers held at a time
_ROWS = 1 << 13


class Work(NamedTuple):
    """One step under one edit. `ids` up to the end of its text, which starts at `start`; `ablated`: positions of the
    tokens whose embedding is replaced; `item` and `step` count from 0."""

    item: int
    step: int
    edit: str
    ids: list[int]
    start: int
    ablated: range


def steps_of(found: Sequence[Drawn], codec: Codec) -> list[Work]:
    """Every step that has a block, under every edit that the scheme allows: a swap needs both kinds' tokens."""
    return [
        Work(item, step, edit, ids, block.stop, block if edit == ABLATE else range(0))
        for item, each in enumerate(found)
        for step in range(len(each.item.trace.steps))
        if (block := each.block(step))
        for edit, ids in _edited(each.rendered.ids[: each.positions(step)[-1] + 1], block, codec)
    ]


def _edited(ids: list[int], block: range, codec: Codec) -> list[tuple[str, list[int]]]:
    found = [(NONE, ids), (ABLATE, ids)]
    kind = codec.owner(ids[block.start])
    if set(KINDS) <= set(codec.scheme.kinds) and kind in OTHER:
        swapped = codec.block(OTHER[kind])[-len(block) :]
        found.append((SWAP, [*ids[: block.start], *swapped, *ids[block.stop :]]))
    return found


class Edited:
    """Scores and, on toy worlds, continues steps under edits.

    An ablated token's embedding is the mean of those of all the tokenizer's tokens but the scheme's: it says nothing
    of a kind, nor that a kind is told.
    """

    def __init__(self, student: Student, world: Path | None, found: Sequence[Drawn]) -> None:
        self._student, self._found = student, found
        self._world = _world(world)
        self._empty = _mean_embedding(student)
        self._room = _ROOM + max(len(each.positions(s)) for each in found for s in range(len(each.item.trace.steps)))

    def __call__(self, work: Sequence[Work]) -> pl.DataFrame:
        """A row per piece of work: mean log-probability per token of the step's text, and the content of what is
        written instead of it."""
        contents = self._contents(work) if self._world else [None] * len(work)
        rows = [
            (each.item, each.step, self._found[each.item].item.trace.steps[each.step].kind, each.edit, logp, content)
            for each, logp, content in zip(work, self._scores(work), contents, strict=True)
        ]
        names = {"item": pl.Int64, "step": pl.Int64, "kind": pl.String, "edit": pl.String}
        return pl.DataFrame(rows, schema=names | {"logp": pl.Float64, "content": pl.String}, orient="row")

    @torch.no_grad()
    def _scores(self, work: Sequence[Work]) -> list[float]:
        model = self._student.model
        batch = model.encode([each.ids for each in work], pad="right")
        last = f"resid_post.{model.dims.layers - 1}"
        resid = model.run(batch, capture=last, logits=None, edits=[self._ablation(work)])[last]
        places = [(row, at) for row, each in enumerate(work) for at in range(each.start, len(each.ids))]
        rows, at = torch.tensor(places).T
        logp = self._logp(resid[rows, at - 1], batch.input_ids[rows, at])
        lengths = [len(each.ids) - each.start for each in work]
        return [float(each.mean()) for each in logp.double().cpu().split(lengths)]

    def _logp(self, resid: Float[Tensor, "n D"], targets: Tensor) -> Float[Tensor, " n"]:
        """Log-probability of each target, some at a time: rows over a large vocabulary are what takes memory."""
        some = max(1, _LOGITS // self._student.model.dims.vocab)
        pieces = zip(resid.split(some), targets.to(resid.device).split(some), strict=True)
        return torch.cat(
            [self._student.model.unembed(x).float().log_softmax(-1).gather(-1, y[:, None])[:, 0] for x, y in pieces]
        )

    def _contents(self, work: Sequence[Work]) -> list[str]:
        model, newline = self._student.model, "\n"
        batch = model.encode([each.ids[: each.start] for each in work])
        edits = [self._ablation(work)]
        said = model.generate(batch, edits=edits, max_new_tokens=self._room, stop=newline).texts
        assert said is not None, "a student has a tokenizer"
        return [self._content(each, text.strip()) for each, text in zip(work, said, strict=True)]

    def _content(self, each: Work, text: str) -> str:
        trace = self._found[each.item].item.trace
        steps = [*trace.steps[: each.step], Step(trace.steps[each.step].kind, text)]
        return self._world.check(trace.question, steps)[-1].content

    def _ablation(self, work: Sequence[Work]) -> actkit.Edit:
        width = max(len(each.ids) for each in work) + self._room
        ablated = torch.zeros(len(work), width, dtype=torch.bool)
        for row, each in enumerate(work):
            ablated[row, list(each.ablated)] = True
        ablated = ablated.to(self._empty.device)

        def replaced(old: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
            return torch.where(ablated[rows, positions][:, None], self._empty.to(old), old)

        return actkit.by_place("embed", replaced)


def _world(path: Path | None) -> Any:
    if path is None:
        return None
    from memreason.world import World

    return World.load(path)


@torch.no_grad()
def _mean_embedding(student: Student) -> Float[Tensor, " D"]:
    """As the embedding gives it out: some families scale it."""
    new = set(student.codec.new_ids)
    ids = torch.tensor([i for i in range(len(student.codec.tokenizer)) if i not in new], device=student.model.device)
    embed = student.model.sites["embed"].module
    return torch.stack([embed(some).float().sum(0) for some in ids.split(_ROWS)]).sum(0) / len(ids)
