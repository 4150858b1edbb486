"""The exact way: every cell patched for real, in passes that leave out whatever cannot differ."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from actkit.hooks import undisturbed
from actkit.sites import Site
from actkit.tracing.cells import LOCAL, Task, layer_of, pass_cost, passes, tasks, windowed
from actkit.tracing.grid import Grid
from actkit.tracing.question import Baselines, Chunk, Question
from actkit.tracing.restart import Again, Rerun, Write, resumable


def measured(question: Question, wanted: Bool[Tensor, "K L P"] | None) -> Grid:
    """The grid, or of it the cells `wanted`; the others are NaN."""
    parts: list[Tensor] = []
    baselines: list[Baselines] = []
    chunks = list(question.chunks(question.batch_size))
    steps = len(chunks) * sum(map(len, question.sites.values()))
    with (
        undisturbed(question.model.hf),
        resumable(question.model),
        tqdm(total=steps, desc="trace", unit="layer", disable=None) as bar,
    ):
        for chunk in chunks:
            measuring = Measuring(chunk)
            baselines.append(measuring.baselines)
            for sites in question.sites.values():
                for site in sites:
                    measuring.measure(site, wanted)
                    bar.update()
            parts.append(measuring.values(wanted))
    return question.grid(parts, baselines)


def near_by(question: Question, site: Site) -> list[Site]:
    """The sites patched together with this one, and the stream after each that gives it."""
    found = windowed(question.model, site, question.window)
    after = [f"resid_pre.{layer_of(near) + 1}" for near in found if near.kind == "resid_post"]
    return [*found, *(question.model.sites[name] for name in after if name in question.model.sites)]


class Measuring:
    """The base run of a chunk, ready to be resumed, and the source run's activations."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.question = question = chunk.question
        model = question.model
        stream = [model.sites[name] for name in ("embed", *(f"resid_pre.{i}" for i in range(model.dims.layers)))]
        traced = [near for sites in question.sites.values() for site in sites for near in near_by(question, site)]
        if question.into == "corrupt":
            clean, corrupt = chunk.clean(traced), chunk.corrupt(stream, cached=True)
            base, self.source = corrupt, clean
        else:
            clean, corrupt = chunk.clean(stream, cached=True), chunk.corrupt(traced)
            base, self.source = clean, corrupt
        self.rerun = Rerun(model, base)
        self.baselines = chunk.baselines(clean, corrupt)
        self._found: list[tuple[list[tuple[int, int, int, int]], Tensor]] = []

    def measure(self, site: Site, wanted: Bool[Tensor, "K L P"] | None) -> None:
        """Patch this site (and its window) in every row and column that can differ."""
        question, place = self.question, self.question.layers.index(layer_of(site))
        targets = self._targets(site)
        work = [task for task in self._tasks(site) if wanted is None or wanted[task.line, place, task.column]]
        if not work:
            return
        whole = not self.rerun.skips_columns or any(target.tap.side == "inside" for _, target in targets)
        cost = 1 << 62 if whole else pass_cost(question.model)
        with self.rerun.at(min(layer_of(target) for _, target in targets), [target for _, target in targets]) as again:
            for group in passes(work, question.batch_size, cost):
                scores = self._scores(again, group, targets, 0 if whole else min(group[0].slots))
                self._found.append(([(task.row, task.line, place, task.column) for task in group], scores))

    def values(self, wanted: Bool[Tensor, "K L P"] | None) -> Float[Tensor, "r K L P"]:
        """What was found, and the base's own number in every cell no patch can change."""
        question, rows = self.question, self.chunk.rows
        values = question.empty(len(rows))
        base = self.baselines.corrupt if question.into == "corrupt" else self.baselines.clean
        exists = torch.tensor([[bool(c.positions[pair]) for c in question.columns] for pair in self.chunk.pair_of])
        unpatched = torch.where(exists, base.double().cpu()[:, None], torch.nan)
        for k, line in enumerate(question.lines):
            for site in question.sites[line.kind]:
                values[:, k, question.layers.index(layer_of(site))] = unpatched
        if wanted is not None:
            values[:, ~wanted] = torch.nan
        if self._found:
            index = torch.tensor([cell for cells, _ in self._found for cell in cells]).unbind(-1)
            values[index] = torch.cat([scores for _, scores in self._found]).double().cpu()
        return values

    def _tasks(self, site: Site) -> list[Task]:
        question = self.question
        lines = [k for k, line in enumerate(question.lines) if line.kind == site.kind]
        lowest = min(layer_of(near) for near in windowed(question.model, site, question.window))
        last_only = site.kind in LOCAL and lowest == question.model.dims.layers - 1
        return tasks(question.pairs, self.chunk.rows, question.columns, lines, last_only=last_only)

    def _targets(self, site: Site) -> list[tuple[Tensor, Site]]:
        """What is put where. What a block gives is put in as what the next one gets, so that it need not run."""
        model, found = self.question.model, []
        for near in windowed(model, site, self.question.window):
            value, target = self.source.values[near.name], near
            after = model.sites.get(f"resid_pre.{layer_of(near) + 1}")
            if near.kind == "resid_post" and after and torch.equal(value, self.source.values[after.name]):
                target = after
            found.append((value, target))
        return found

    def _scores(
        self, again: Again, group: list[Task], targets: Sequence[tuple[Tensor, Site]], start: int
    ) -> Float[Tensor, " n"]:
        """The metric of one pass."""
        chunk, device = self.chunk, self.question.model.device
        head = [self.question.lines[task.line].head for task in group]
        puts = [
            (i, slot - start, chunk.source_of[task.row], slot, -1 if head[i] is None else head[i])
            for i, task in enumerate(group)
            for slot in task.slots
        ]
        index = torch.tensor(puts).to(device, non_blocking=True).T
        writes: dict[str, Write] = {
            target.name: partial(_put, value, index, head[0] is not None) for value, target in targets
        }
        rows = torch.tensor([(chunk.base_of[task.row], chunk.pair_of[task.row]) for task in group])
        rows, pairs = rows.to(device, non_blocking=True).unbind(-1)
        logits = again(rows, start, writes)
        return self.question.score(logits, pairs.to(logits.device))


def _put(source: Tensor, index: Tensor, one_head: bool, x: Tensor) -> Tensor:
    """`x` [n, t, ...] with the source's values at the slots (and heads) that `index` lists."""
    row, column, source_row, slot, head = index.to(x.device).unbind()
    x = x.clone()
    values = source.to(x.device)
    if one_head:
        x[row, column, head] = values[source_row, slot, head]
    else:
        x[row, column] = values[source_row, slot]
    return x
