"""The prompts of a trace: clean ones, what corrupts them, and which of their tokens make up a column."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from actkit.batch import Batch
from actkit.errors import ActkitError, PromptError
from actkit.model import Model, Prompts
from actkit.tokens import readable

Span = Sequence[int] | Sequence[Sequence[int]]
Positions = str | Iterable[int] | Mapping[str, int | Span]


@dataclass(frozen=True)
class Noised:
    """Corrupts a prompt by adding Gaussian noise to the embeddings of some tokens (Meng et al. 2022, section 2.1).

    `span`: positions among the real tokens, the same for every prompt, or one tuple per prompt; negative ones count
    from the end. `sigma`: standard deviation of the noise, or "3x": so many times that of the span's embeddings
    over all prompts. `samples`: draws per prompt, over which the trace averages. The draws depend on seed and
    prompt number alone.
    """

    span: Span
    sigma: float | str = "3x"
    samples: int = 10
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Pairs:
    """P clean prompts and the R = P·S corrupt ones, S of each, on the model's device and padded alike."""

    clean: Batch
    corrupt: Batch
    """The corrupt tokens of each pair, [P, T]; the clean ones themselves when they are noised."""
    samples: int = 1
    spans: list[tuple[int, ...]] = field(default_factory=list)
    """Noised positions per pair; empty when the prompts are pairs."""
    sigma: float = 0.0
    seed: int = 0

    def __len__(self) -> int:
        return len(self.clean) * self.samples

    @cached_property
    def offsets(self) -> list[int]:
        """Slot of each pair's first real token."""
        return self.clean.attention_mask.argmax(-1).tolist()

    @cached_property
    def lengths(self) -> list[int]:
        return self.clean.lengths.tolist()

    @cached_property
    def first(self) -> list[int]:
        """Per pair, the first position whose activations can differ: attention looks back only."""
        if self.spans:
            return [min(span) for span in self.spans]
        pairs = zip(self.clean.ids, self.corrupt.ids, strict=True)
        return [next(i for i, (a, b) in enumerate(zip(*pair, strict=True)) if a != b) for pair in pairs]

    def noise(self, rows: Sequence[int], width: int) -> Float[Tensor, "r T width"]:
        """What is added to the embeddings of these corrupt rows: 0 outside their spans."""
        found = torch.zeros(len(rows), self.clean.input_ids.shape[1], width)
        for pair in sorted({row // self.samples for row in rows}):
            # Hashed, because torch's generator reads the low 32 bits of a seed only.
            key = hashlib.sha256(f"{self.seed} {pair}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big", signed=True))
            draws = [torch.randn(len(self.spans[pair]), width, generator=generator) for _ in range(self.samples)]
            slots = [self.offsets[pair] + position for position in self.spans[pair]]
            for i, row in enumerate(rows):
                if row // self.samples == pair:
                    found[i, slots] = self.sigma * draws[row % self.samples]
        return found


def prepare(model: Model, clean: str | Prompts | Batch, corrupt: str | Prompts | Batch | Noised) -> Pairs:
    """Encode and check the prompts. Raises PromptError (whose `rows` names the faulty pairs) and ActkitError."""
    batch = _encoded(model, clean)
    if isinstance(corrupt, Noised):
        return _noised(model, batch, corrupt)
    other = _encoded(model, corrupt)
    if len(batch) != len(other):
        raise PromptError(f"{len(batch)} clean prompts but {len(other)} corrupt ones.", "They are taken in pairs.")
    lengths = list(zip(batch.lengths.tolist(), other.lengths.tolist(), strict=True))
    if rows := [i for i, (a, b) in enumerate(lengths) if a != b]:
        a, b = lengths[rows[0]]
        raise PromptError(
            f"Pair {rows[0]}: the clean prompt has {a} tokens, the corrupt one {b}.",
            "Patching needs the same number of tokens in both; or corrupt with actkit.Noised(span).",
            rows=rows,
        )
    if rows := [i for i, (a, b) in enumerate(zip(batch.ids, other.ids, strict=True)) if a == b]:
        raise PromptError(f"Pair {rows[0]}: clean and corrupt prompt are the same.", rows=rows)
    return Pairs(batch, other)


def _encoded(model: Model, prompts: str | Prompts | Batch) -> Batch:
    """The rows padded on the right, however they come: both runs of a pair then agree on every slot, and no recurrent
    layer reads padding before text."""
    if isinstance(prompts, Batch):
        return model.encode(prompts.ids, pad="right")
    return model.encode([prompts] if isinstance(prompts, str) else prompts, pad="right")


def _noised(model: Model, batch: Batch, how: Noised) -> Pairs:
    if how.samples < 1:
        raise ActkitError(f"{how.samples} noise samples; at least one is needed.")
    spans = per_row(how.span, batch, "span")
    if rows := [i for i, span in enumerate(spans) if not span]:
        raise ActkitError(f"The span of prompt {rows[0]} is empty.", "Name at least one position to put noise on.")
    embed: Any = model.sites["embed"].module
    with torch.no_grad():
        ids = [ids[position] for ids, span in zip(batch.ids, spans, strict=True) for position in span]
        spread = embed(torch.tensor(ids, device=model.device)).float().std()
    sigma = float(spread) * _times(how.sigma) if isinstance(how.sigma, str) else float(how.sigma)
    if not sigma > 0:
        raise ActkitError(f"sigma is {sigma}, which corrupts nothing.", 'Give a positive number, or "3x".')
    return Pairs(batch, batch, how.samples, spans, sigma, how.seed)


def _times(sigma: str) -> float:
    number, x, rest = sigma.partition("x")
    try:
        if x and not rest:
            return float(number)
    except ValueError:
        pass
    raise ActkitError(f"sigma {sigma!r} is not understood.", 'Give a number, or "3x" for 3 standard deviations.')


def per_row(wanted: int | Span, batch: Batch, name: str) -> list[tuple[int, ...]]:
    """Positions of each row, counted from 0, from one choice for all rows or one per row.

    Raises ActkitError, naming row and length, for a position the row's text does not have.
    """
    chosen: list[Any] = [wanted] if isinstance(wanted, int) else list(wanted)
    if all(isinstance(each, int) for each in chosen):
        chosen = [chosen] * len(batch)
    if len(chosen) != len(batch):
        raise ActkitError(f"{name}: positions for {len(chosen)} prompts, but there are {len(batch)}.")
    spans = [(each,) if isinstance(each, int) else tuple(each) for each in chosen]
    return [
        tuple(_position(position, length, row, name) for position in span)
        for row, (span, length) in enumerate(zip(spans, batch.lengths.tolist(), strict=True))
    ]


def _position(position: int, length: int, row: int, name: str) -> int:
    if not -length <= position < length:
        raise ActkitError(
            f"{name}: prompt {row} has no position {position}.",
            f"Its {length} tokens are 0 to {length - 1}; negative ones count from the end.",
        )
    return position % length


@dataclass(frozen=True)
class Column:
    """One column of a grid: tokens patched together."""

    label: str
    token: str | None
    """The token's text, where there is one prompt and one token."""
    positions: list[tuple[int, ...]]
    """Per pair; empty where its text is too short."""


def columns(model: Model, pairs: Pairs, wanted: Positions) -> list[Column]:
    """The columns asked for: "all" real tokens, a list of positions, or named spans. Raises ActkitError."""
    batch = pairs.clean
    if isinstance(wanted, Mapping):
        found = {str(name): per_row(span, batch, f"positions[{name!r}]") for name, span in wanted.items()}
    elif wanted == "all":
        found = {str(i): [(i,) if i < n else () for n in pairs.lengths] for i in range(max(pairs.lengths))}
    elif isinstance(wanted, str):
        raise ActkitError(f'positions {wanted!r} must be "all", a list of positions, or a dict of named ones.')
    else:
        found = {str(i): per_row(i, batch, "positions") for i in wanted}
    if not found:
        raise ActkitError("No positions to patch.")
    if empty := [name for name, rows in found.items() if not any(rows)]:
        raise ActkitError(f"positions[{empty[0]!r}] is empty.")
    return [Column(name, _token(model, batch, rows), rows) for name, rows in found.items()]


def _token(model: Model, batch: Batch, positions: list[tuple[int, ...]]) -> str | None:
    if len(batch) > 1 or len(positions[0]) != 1:
        return None
    return readable(model.tokenizer, [batch.ids[0][positions[0][0]]])[0]
