"""Decoding with a KV cache, row by row out of the batch, with every activation on the way open to view and edit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from actkit.batch import Batch, pad_rows
from actkit.cache import keep_rows, roomy_cache
from actkit.captured import Origin, Run
from actkit.edits import Edit
from actkit.hooks import Layout, Probe, undisturbed
from actkit.run import Patterns, probe_for, refuse_decoding, refuse_nan, refuse_other
from actkit.sampling import Sampler, Sampling
from actkit.sites import Site
from actkit.stopping import Ending, Finish

if TYPE_CHECKING:
    from actkit.model import Model


Adjust = Callable[[Float[Tensor, "b V"], Sequence[int]], Float[Tensor, "b V"]]
"""From the logits of the rows still active, and their original numbers, to those that tokens are chosen by."""


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One decoding step, as `on_step` sees it. b: rows still active."""

    index: int
    """0 for the first new token."""
    rows: Int[Tensor, " b"]
    """Original row numbers."""
    tokens: Int[Tensor, " b"]
    """The tokens just chosen."""
    captures: Mapping[str, Float[Tensor, "b ..."]]
    """Activations at the position that produced the token: the last prompt token at step 0."""


@dataclass(frozen=True, eq=False)
class Generation:
    """What was decoded.

    `tokens`: new ids per row, with the one that ended it. `texts`: new text per row, cut at the stop string (None
    without a tokenizer). `finish`: why each row ended. `batch`: prompts and new tokens, prompts left-padded, rows that
    ended early padded on the right. `run`: captures over that batch (empty with `on_step`).
    """

    tokens: list[list[int]]
    texts: list[str] | None
    finish: list[Finish]
    batch: Batch
    run: Run


class _Active:
    """The rows still being decoded, and what the next forward pass needs of them."""

    def __init__(self, model: "Model", batch: Batch, room: int) -> None:
        self.rows = torch.arange(len(batch), device=model.device)
        self.numbers = list(range(len(batch)))
        self.ids = batch.input_ids
        self.positions = batch.position_ids
        self.real = batch.positions
        # Wide enough for the finished text, so that growing the mask is only taking a wider view.
        self.mask = torch.cat([batch.attention_mask, batch.attention_mask.new_ones(len(batch), room)], dim=-1)
        self.seen = batch.input_ids.shape[1]
        self.cache = roomy_cache(model.hf.config)

    def forward(self, model: "Model", probe: Probe) -> Float[Tensor, "b V"]:
        """Logits for the next token of each row."""
        probe.shape = (self.ids.shape[0], self.ids.shape[1])
        probe.cache = self.cache
        probe.layout = Layout(self.rows, self.real, None, self.seen - self.ids.shape[1])
        recurrent = model.family.cache == "cache_params"
        out = model.hf(
            input_ids=self.ids,
            # A state-space model's state has no place for padding any more: its mask is for the prompt alone.
            attention_mask=None if recurrent and self.seen > self.ids.shape[1] else self.mask[:, : self.seen],
            position_ids=self.positions,
            **{model.family.cache: self.cache},
            use_cache=True,
        )
        return probe.through(model.sites["logits"], out.logits)[:, -1]

    def feed(self, tokens: Int[Tensor, " b"]) -> None:
        """Make these the next tokens to go through the model."""
        self.ids = tokens[:, None]
        self.positions = self.positions[:, -1:] + 1
        self.real = self.positions
        self.seen += 1

    def keep(self, places: Sequence[int]) -> None:
        """Go on with only the rows at these places."""
        index = torch.tensor(places, device=self.rows.device)
        self.numbers = [self.numbers[i] for i in places]
        self.rows, self.ids, self.mask = self.rows[index], self.ids[index], self.mask[index]
        self.positions, self.real = self.positions[index], self.real[index]
        keep_rows(self.cache, index)


class _Newest:
    """Keeps each site's activations at the newest position only: what `on_step` is given."""

    def __init__(self) -> None:
        self.now: dict[str, Tensor] = {}

    def keep(self, site: Site, x: Tensor) -> None:
        """A copy out of a prompt's whole stretch, so that the stretch can be freed; a view of a single step."""
        last = x.select(1, -1)
        self.now[site.name] = last.clone() if x.shape[1] > 1 else last

    def take(self, places: list[int] | None) -> dict[str, Tensor]:
        """Hand over this step's activations, of all rows or only those at these places."""
        taken, self.now = self.now, {}
        return taken if places is None else {name: x[places] for name, x in taken.items()}


class _Everything:
    """Keeps all activations of all steps, to be laid out along the finished text."""

    def __init__(self, active: _Active) -> None:
        self.active = active
        self.chunks: dict[str, list[tuple[Tensor, int, Tensor]]] = {}

    def keep(self, site: Site, x: Tensor) -> None:
        """Note for which rows and from which column on these values hold."""
        start = self.active.seen - x.shape[1]
        self.chunks.setdefault(site.name, []).append((self.active.rows, start, x))

    def laid_out(self, batch: Batch) -> dict[str, Tensor]:
        """Site -> [B, T, ...] along the finished text; zeros at padding after a row's end."""
        shape = batch.input_ids.shape
        values: dict[str, Tensor] = {}
        for name, chunks in self.chunks.items():
            inner = list(chunks[-1][2].shape[2:])
            if name.startswith("attn_pattern"):
                inner[-1] = shape[1]  # each step looks at one more key
            values[name] = chunks[0][2].new_zeros(*shape, *inner)
            for rows, start, x in chunks:
                values[name][rows, start : start + x.shape[1], ..., : x.shape[-1]] = x
        return values


class _Texts:
    """What each row has said so far, and why it ended."""

    def __init__(self, ending: Ending, batch: Batch) -> None:
        self.ending = ending
        self.prompts = batch.ids
        self.new: list[list[int]] = [[] for _ in self.prompts]
        self.finish: list[Finish | None] = ["context" if ending.full(len(p)) else None for p in self.prompts]

    def add(self, rows: list[int], tokens: list[int]) -> None:
        """Append one token to each of these rows, and end those that end with it."""
        for row, token in zip(rows, tokens, strict=True):
            self.new[row].append(token)
            self.finish[row] = self.ending.of(len(self.prompts[row]), self.new[row])

    def going(self, rows: list[int]) -> list[int]:
        """Places of the rows that have not ended."""
        return [place for place, row in enumerate(rows) if self.finish[row] is None]

    def generation(self, batch: Batch, everything: _Everything, origin: Origin) -> Generation:
        """The result, all rows having ended."""
        finish: list[Finish] = [reason for reason in self.finish if reason is not None]
        texts = self.ending.texts(self.prompts, self.new, finish)
        whole = _extended(batch, self.new)
        return Generation(self.new, texts, finish, whole, Run(everything.laid_out(whole), whole, None, origin))


def _extended(batch: Batch, new: list[list[int]]) -> Batch:
    """The left-padded prompts with their new tokens, padded on the right."""
    tail = pad_rows(new, pad_id=int(batch.input_ids[0, 0]), pad="right").to(batch.input_ids.device)
    return Batch(
        torch.cat([batch.input_ids, tail.input_ids], dim=-1),
        torch.cat([batch.attention_mask, tail.attention_mask], dim=-1),
    )


def generate(
    model: "Model",
    batch: Batch,
    *,
    capture: Patterns,
    edits: Iterable[Edit],
    ending: Ending,
    sampling: Sampling,
    on_step: Callable[[Step], None] | None,
    adjust: Adjust | None,
) -> Generation:
    """See `Model.generate`."""
    refuse_other(batch)
    refuse_decoding(model)
    batch = batch.to(model.device).left()
    refuse_nan(model, batch)
    probe = probe_for(model, capture, edits)
    sampler = Sampler(sampling, len(batch))
    active = _Active(model, batch, ending.max_new_tokens)
    texts, newest, everything = _Texts(ending, batch), _Newest(), _Everything(active)
    # Captures of a finished text include its last token, which then has to go through the model once more.
    linger = on_step is None and bool(probe.captures)
    keep = everything.keep if on_step is None else newest.keep
    with undisturbed(model.hf), probe:
        probe.open(keep)
        if model.sites["logits"] not in probe.touched:
            probe.before_head(model.head, lambda x: x[:, -1:])
        for index in count():
            logits = active.forward(model, probe)
            going = texts.going(active.numbers)
            if not going:
                break
            some = going if len(going) < len(active.numbers) else None
            if some is not None:
                active.keep(some)
                logits = logits[some]
            tokens = sampler(adjust(logits, active.numbers) if adjust else logits, active.numbers)
            if on_step is not None:
                on_step(Step(index, active.rows, tokens, newest.take(some)))
            texts.add(active.numbers, tokens.tolist())
            active.feed(tokens)
            going = range(len(active.numbers)) if linger else texts.going(active.numbers)
            if not going:
                break
            if len(going) < len(active.numbers):
                active.keep(going)
    probe.settle()
    return texts.generation(batch, everything, model.origin)
