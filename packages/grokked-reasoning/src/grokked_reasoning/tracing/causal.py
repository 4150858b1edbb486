"""Causal tracing: put a state of a corrupted prompt into the clean one, and see whether it still knows (section 3.3).

Passes take up the clean run at the block after the patched layer and at the patched token, with the keys and values
that the clean run left, all examples of a site at once. They equal one plain forward with a hook per example.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import actkit
import numpy as np
import polars as pl
import torch
from actkit.hooks import undisturbed
from actkit.tracing.restart import Rerun, Seen, observe, resumable
from jaxtyping import Float, Int
from torch import Tensor

from grokked_reasoning.dataset import batches
from grokked_reasoning.tracing.examples import Examples, Patch
from grokked_reasoning.tracing.layers import batch, ranks, state

ANSWER = "answer"


class Traced(NamedTuple):
    """Ranks (0: most likely) of a target of the n examples of a site, before and after patching each of L layers.

    layers: those after which the target is read, L' of them; of the answer the last one. A patch at layer l is index
    l - 1. `after` is -1 where the target is not read after the patch.
    """

    site: str
    target: str
    layers: list[int]
    before: Int[np.ndarray, "n R"]
    after: Int[np.ndarray, "n L R"]


def strengths(model: actkit.Model, examples: Examples, *, batch_size: int = 512, targets: bool = False) -> pl.DataFrame:
    """Causal strength of every site and layer: 1 - share of examples whose answer stays the most likely token.

    `examples` with the model's ids (`tracing.draw.examples`, `Examples.mapped`); at most `batch_size` per pass.
    `targets`: of the inner targets too, as the logit lens reads them from their own token after every later layer; a
    patch whose target stays at rank 0 there has no effect on that state, whatever happens to the answer. All later
    layers are read, rather than one chosen from a finished model, so that checkpoints do not depend on each other.
    Columns as in tables.Effects, but step.
    """
    total = len(examples)
    return pl.concat(_rows(each, total) for each in traced(model, examples, batch_size=batch_size, targets=targets))


def traced(model: actkit.Model, examples: Examples, *, batch_size: int = 512, targets: bool = False) -> list[Traced]:
    """The ranks behind `strengths`: for each site that some example has, the answer, then the inner targets."""
    found: dict[tuple[str, str], list[Traced]] = {}
    room = actkit.Room()

    def ranked(some: Sequence[int]) -> list[Traced]:
        return list(_Chunk(model, examples.take(slice(some[0], some[-1] + 1)), targets=targets).all())

    for some in batches(len(examples), batch_size):
        for each in chain.from_iterable(room(range(len(examples))[some], ranked)):
            found.setdefault((each.site, each.target), []).append(each)
    return [
        each[0]._replace(
            before=np.concatenate([part.before for part in each]), after=np.concatenate([part.after for part in each])
        )
        for each in found.values()
    ]


class _Read(NamedTuple):
    """A target to be read from the states at a position."""

    name: str
    position: int
    ids: Int[Tensor, "N 1"]


class _Chunk:
    """Some examples: the clean run, ready to be taken up anywhere, and the corrupted runs."""

    def __init__(self, model: actkit.Model, examples: Examples, *, targets: bool) -> None:
        self._model, self._examples, self._depth = model, examples, model.dims.layers
        self._ids = {name: torch.as_tensor(each, device=model.device) for name, each in examples.targets.items()}
        inner = examples.inner if targets else ()
        self._inner = [_Read(name, examples.home[name], self._ids[name]) for name in inner]

    @torch.no_grad()
    def all(self) -> Iterator[Traced]:
        """Every site and target."""
        with undisturbed(self._model.hf), resumable(self._model):
            clean = self._seen(self._examples.prompts, cached=True)
            rerun = Rerun(self._model, clean)
            for patch in self._examples.patches:
                if len(patch.rows):
                    yield from self._site(rerun, clean, patch)

    def _seen(self, prompts: Int[np.ndarray, "n T"], *, cached: bool = False) -> Seen:
        names = ["embed", *(state(self._model, layer) for layer in range(self._depth + 1))]
        return observe(self._model, batch(self._model, prompts), [self._model.sites[n] for n in names], cached=cached)

    def _site(self, rerun: Rerun, clean: Seen, patch: Patch) -> Iterator[Traced]:
        rows = torch.as_tensor(patch.rows, device=self._model.device)
        source = self._seen(patch.prompts)
        reads = [read for read in self._inner if read.position >= min(patch.positions)]
        answers, inner = self._ids[ANSWER][rows], [read._replace(ids=read.ids[rows]) for read in reads]
        after: list[Tensor] = []
        states: list[list[Tensor]] = [[] for _ in inner]
        for layer in range(1, self._depth + 1):
            logits, seen = self._patched(rerun, source, patch, rows, layer, inner)
            after.append(ranks(logits, answers))
            for kept, read in zip(states, inner, strict=True):
                kept.append(self._lens(read, {at: x[read.position] for at, x in seen.items()}, len(rows)))
        yield _result(patch, ANSWER, [self._depth], ranks(clean.logits[rows], answers), torch.stack(after, dim=1))
        layers = list(range(1, self._depth + 1))
        for kept, read in zip(states, inner, strict=True):
            untouched = {at: clean.values[state(self._model, at)][rows, read.position] for at in layers}
            before = self._lens(read, untouched, len(rows))
            yield _result(patch, read.name, layers, before, torch.stack(kept, dim=1))

    def _patched(
        self, rerun: Rerun, source: Seen, patch: Patch, rows: Tensor, layer: int, reads: list[_Read]
    ) -> tuple[Float[Tensor, "n V"], dict[int, dict[int, Tensor]]]:
        """Logits after the patch, and by later layer and position the states that are read."""
        width = self._examples.prompts.shape[1]
        if layer == self._depth:  # nothing comes after it but the head, which looks at the last token
            return (source.logits if width - 1 in patch.positions else rerun.base.logits[rows]), {}
        entry = state(self._model, layer)
        seen: dict[int, dict[int, Tensor]] = {}
        later = range(layer + 1, self._depth + 1) if reads else ()
        positions = sorted({read.position for read in reads})
        writes: dict[str, Callable[[Tensor], Tensor]] = {
            state(self._model, at): partial(_noted, seen.setdefault(at, {}), positions, width) for at in later
        }
        writes[entry] = partial(_put, source.values[entry], patch.positions, width)
        with rerun.at(layer, [self._model.sites[name] for name in writes]) as again:
            return again(rows, min(patch.positions), writes), seen

    def _lens(self, read: _Read, states: dict[int, Float[Tensor, "n D"]], count: int) -> Int[Tensor, "n L"]:
        """Ranks of the target after every layer; -1 after those that are not among the states."""
        none = torch.full((count,), -1, device=self._model.device)
        found = {at: ranks(self._model.unembed(x).float(), read.ids)[:, 0] for at, x in states.items()}
        return torch.stack([found.get(at, none) for at in range(1, self._depth + 1)], dim=1)


def _put(source: Float[Tensor, "n T D"], positions: tuple[int, ...], width: int, x: Tensor) -> Tensor:
    """`x`, the last tokens of `width`, with the source's states at the positions."""
    first = width - x.shape[1]
    x = x.clone()
    for position in positions:
        x[:, position - first] = source[:, position]
    return x


def _noted(kept: dict[int, Tensor], positions: list[int], width: int, x: Tensor) -> Tensor:
    """`x`, after a note of its states at the positions."""
    for position in positions:
        kept[position] = x[:, position - (width - x.shape[1])].clone()
    return x


def _result(patch: Patch, target: str, layers: list[int], before: Tensor, after: Tensor) -> Traced:
    return Traced(patch.site, target, layers, before.cpu().numpy(), after.cpu().numpy())


def _rows(found: Traced, examples: int) -> pl.DataFrame:
    """One row per patched layer and layer that is read (tables.Effects, but step)."""
    n = len(found.before)
    right = found.before == 0
    records = [
        (
            *(found.site, layer + 1, found.target, read, n, examples - n),
            *(
                _strength(found.after[:, layer, i]),
                int(right[:, i].sum()),
                _strength(found.after[right[:, i], layer, i]),
            ),
        )
        for layer in range(found.after.shape[1])
        for i, read in enumerate(found.layers)
        if found.after[0, layer, i] >= 0
    ]
    columns = {
        **{"site": str, "layer": int, "target": str, "target_layer": int, "n": int, "left_out": int},
        **{"strength": float, "n_right": int, "strength_right": float},
    }
    return pl.DataFrame(records, columns, orient="row")


def _strength(ranks_after: Int[np.ndarray, " n"]) -> float | None:
    return float((ranks_after != 0).mean()) if len(ranks_after) else None
