"""One layer of one split, from the original's arrays to what `expgen.store` reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from runkit import files
from runkit.errors import DataError
from safetensors.numpy import save_file

from expgen.imported.catalogue import Catalogue
from expgen.imported.layout import Layout, Pole

_AT_ONCE = 1 << 23
"""Activations in memory beside a layer's result."""
_ROUNDING = 1e-2  # the original's arrays of one value are of different precision


class Chunk(NamedTuple):
    """Some neurons' sequences: real tokens first; NaN and -1 beyond."""

    acts: Float[np.ndarray, "n k T"]
    ids: Int[np.ndarray, "n k T"]
    lengths: Int[np.ndarray, "n k"]
    datasets: Int[np.ndarray, "n k"]

    def ordered(self, order: Int[np.ndarray, "n k"]) -> "Chunk":
        """Each neuron's sequences in another order."""
        long = [np.take_along_axis(x, order[..., None], 1) for x in self[:2]]
        return Chunk(*long, *(np.take_along_axis(x, order, 1) for x in self[2:]))

    def strengths(self, sign: int) -> Float[np.ndarray, "n k"]:
        """Each sequence's strongest activation in a polarity, times its sign; -inf where there is none."""
        return np.where(np.isnan(self.acts), -np.inf, sign * self.acts).max(-1)


def write(
    folder: Path, name: str, layout: Layout, split: str, layer: int, catalogue: Catalogue, known: np.ndarray
) -> None:
    """Write `result-NAME.safetensors` and `random-NAME.safetensors` of a layer; its sequences go into the catalogue.

    `known`: the ids the tokenizer has. A split the folder has not gets files without a sequence.

    Raises:
        DataError: names file, neuron and sequence where numbers cannot be what they should be.
    """
    neurons, k, tokens = layout.sizes
    k = k if split in layout.splits else 0
    found = {
        "values": np.full((2, neurons, k), np.nan, np.float32), "rows": np.full((2, neurons, k), -1, np.int64),
        "positions": np.full((2, neurons, k), -1, np.int32),
        "around": np.full((2, neurons, k, tokens), np.nan, np.float32),
    }  # fmt: skip
    vocabulary = np.isin(np.arange(known.max() + 1), known)
    for at, pole in enumerate(layout.poles(split, layer)) if split in layout.splits else ():
        for part in _parts(pole):
            _strongest({key: x[at, part] for key, x in found.items()}, pole, part, (1, -1)[at], catalogue, vocabulary)
    _save(folder / f"result-{name}.safetensors", {f"toprows.{key}": x for key, x in found.items()})
    drawn = _drawn(layout, split, layer, catalogue, vocabulary)
    _save(folder / f"random-{name}.safetensors", drawn)


def _strongest(
    into: dict[str, np.ndarray], pole: Pole, part: slice, sign: int, catalogue: Catalogue, vocabulary: np.ndarray
) -> None:
    """Some neurons' strongest sequences, into views of the result."""
    chunk = _chunk(pole, part, vocabulary)
    order = (-chunk.strengths(sign)).argsort(1, kind="stable")
    chunk = chunk.ordered(order)
    strengths = chunk.strengths(sign)
    _agree(pole, part, strengths, sign)
    there = chunk.lengths > 0
    into["values"][:] = np.where(there, sign * strengths, np.nan)
    into["rows"][:] = _numbers(chunk, catalogue)
    best = np.where(np.isnan(chunk.acts), -np.inf, sign * chunk.acts).argmax(-1)
    into["positions"][:] = np.where(there, best, -1)
    into["around"][:] = chunk.acts


def _drawn(
    layout: Layout, split: str, layer: int, catalogue: Catalogue, vocabulary: np.ndarray
) -> dict[str, np.ndarray]:
    """Each neuron's own random sequences; none where the folder has none."""
    neurons, _, tokens = layout.sizes
    if split not in layout.random:
        empty = np.zeros((2, neurons, 0, tokens), np.float32)
        return {"values": empty, "rows": np.zeros((2, neurons, 0), np.int64)}
    poles = layout.poles(f"random_{split}", layer)
    count = max(pole.acts.shape[1] for pole in poles)
    values = np.full((2, neurons, count, tokens), np.nan, np.float32)
    rows = np.full((2, neurons, count), -1, np.int64)
    for at, pole in enumerate(poles):
        for part in _parts(pole):
            chunk = _chunk(pole, part, vocabulary)
            values[at, part, : chunk.acts.shape[1]] = chunk.acts
            rows[at, part, : chunk.acts.shape[1]] = _numbers(chunk, catalogue)
    return {"values": values, "rows": rows}


def _parts(pole: Pole) -> Iterator[slice]:
    """The neurons, so many at a time that little is in memory."""
    neurons, k, tokens = pole.acts.shape
    step = max(1, _AT_ONCE // (k * tokens))
    return (slice(start, min(start + step, neurons)) for start in range(0, neurons, step))


def _chunk(pole: Pole, part: slice, vocabulary: Bool[np.ndarray, " V"]) -> Chunk:
    """Some neurons' sequences, without the padding."""
    acts, ids = np.array(pole.acts[part], np.float32), np.array(pole.ids[part], np.int64)
    _refuse(pole, part, np.isnan(acts), "seq_acts", "is NaN")
    real = np.isfinite(acts)
    lengths, first, steps = real.sum(-1), real.argmax(-1), np.arange(acts.shape[-1])
    expected = (steps >= first[..., None]) & (steps < (first + lengths)[..., None])
    _refuse(pole, part, real != expected, "seq_acts", "is infinite between two that are not")
    strange = (ids < 0) | (ids >= len(vocabulary))
    strange |= ~vocabulary[np.where(strange, 0, ids)]
    told = f"is {{}}, and the tokenizer has ids 0 to {len(vocabulary) - 1}"
    _refuse(pole, part, strange & real, "seq_ids", told, ids)
    source = np.minimum(first[..., None] + steps, len(steps) - 1)
    beyond = steps >= lengths[..., None]
    acts, ids = np.take_along_axis(acts, source, -1), np.take_along_axis(ids, source, -1)
    acts[beyond], ids[beyond] = np.nan, -1
    return Chunk(acts, ids, lengths, np.array(pole.datasets[part], np.int64))


def _refuse(
    pole: Pole, part: slice, bad: Bool[np.ndarray, "n k T"], what: str, told: str, values: np.ndarray | None = None
) -> None:
    if bad.any():
        neuron, row, token = (int(i) for i in np.argwhere(bad)[0])
        value = "" if values is None else values[neuron, row, token]
        raise DataError(
            f"{pole.file(what)}: neuron {part.start + neuron}, sequence {row}, token {token} {told.format(value)}"
        )


def _agree(pole: Pole, part: slice, strengths: Float[np.ndarray, "n k"], sign: int) -> None:
    """The peaks that are stored must be those of the sequences that are stored."""
    assert pole.peaks is not None, "only random splits have none"
    stored = -np.sort(-sign * np.array(pole.peaks[part], np.float32), axis=1)[:, : strengths.shape[1]]
    off = ~np.isclose(stored, strengths[:, : stored.shape[1]], rtol=_ROUNDING, atol=1e-6)
    if off.any():
        neuron, row = (int(i) for i in np.argwhere(off)[0])
        raise DataError(
            f"{pole.file('acts')}: neuron {part.start + neuron} has {sign * stored[neuron, row]:g} at rank {row}, but "
            f"in {pole.file('seq_acts').name} it is {sign * strengths[neuron, row]:g}: these are of different runs"
        )


def _numbers(chunk: Chunk, catalogue: Catalogue) -> Int[np.ndarray, "n k"]:
    there = chunk.lengths > 0
    rows = np.full(there.shape, -1, np.int64)
    rows[there] = catalogue.number(chunk.ids[there], chunk.lengths[there], chunk.datasets[there])
    return rows


def _save(path: Path, tensors: dict[str, np.ndarray]) -> None:
    with files.atomic(path) as temporary:
        save_file(tensors, temporary)
