"""One process's part of a harvest: shard after shard through the model, each committed before the next begins."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from actkit.harvest.files import read_json, read_tensors, remove, write_json, write_tensors
from actkit.harvest.folds import Fold, restored
from actkit.harvest.reducing import Folding, HarvestError, Listing, OnItsWay, Reducer, Rest, Seen, Spot, State
from actkit.harvest.rows import Block, Corpus
from actkit.model import Model
from actkit.room import halved, out_of_memory


def label(site: str, reducer: str) -> str:
    """How a reducer at a site is called in file and tensor names."""
    return f"{site}.{reducer}"


class Progress:
    """What one process has done, in its file: the next shard, its states' file, and the hash of every file written."""

    def __init__(self, work: Path, rank: int) -> None:
        self.path = work / f"rank-{rank:05}.json"
        self.next: int | None = None
        self.state: list[str] | None = None
        self.files: dict[str, str] = {}
        if self.path.is_file():
            found = read_json(self.path)
            self.next, self.state, self.files = found["next"], found["state"], found["files"]

    def tensors(self) -> dict[str, Tensor]:
        """The saved states; none before the first shard is done. Raises StoreError for a damaged file."""
        return {} if self.state is None else read_tensors(self.path.with_name(self.state[0]), self.state[1])

    def advance(self, shard: int, states: dict[str, Tensor], files: dict[str, str]) -> None:
        """Commit a shard: its states first, then the record that names them, then away with the states before."""
        before = self.state
        name = f"{self.path.stem}-{shard:05}.safetensors"
        self.state = [name, write_tensors(self.path.with_name(name), states)] if states else None
        self.next, self.files = shard + 1, {**self.files, **files}
        write_json(self.path, {"next": self.next, "state": self.state, "files": self.files})
        remove([self.path.with_name(before[0])] if before else [])


class Worker:
    """Does `share`'s shards. A shard's result does not depend on which process does it."""

    def __init__(
        self,
        model: Model,
        corpus: Corpus,
        where: Sequence[Spot],
        reducers: Sequence[Reducer],
        progress: Progress,
        batch_size: int,
    ) -> None:
        self.model = model
        self.corpus = corpus
        self.where = {spot.name: spot for spot in where}
        self.at_site: dict[str, list[Spot]] = {}
        for spot in where:
            self.at_site.setdefault(spot.source.site, []).append(spot)
        self.listing = [reducer for reducer in reducers if isinstance(reducer, Listing)]
        self.folding = [reducer for reducer in reducers if isinstance(reducer, Folding)]
        self.progress = progress
        self.batch_size = batch_size
        self.folds = {
            (spot.name, reducer.name): Fold(reducer, spot.units, spot.device)
            for spot in where
            for reducer in self.folding
        }
        self._restore()

    def _restore(self) -> None:
        restored(((label(*at), fold) for at, fold in self.folds.items()), self.progress.tensors())

    @torch.no_grad()
    def run(self, share: range) -> None:
        """Work through the shards not done yet. Raises HarvestError for NaN or infinite activations, naming the row."""
        start = share.start if self.progress.next is None else self.progress.next
        sizes = [self.corpus.index.shards[shard].tokens for shard in share]
        done = sum(sizes[: start - share.start])
        with tqdm(total=sum(sizes), initial=done, unit="tok", unit_scale=True, disable=None, desc="harvest") as bar:
            for shard in range(start, share.stop):
                before = bar.n
                while not self._tried(shard, bar.update):
                    bar.update(before - bar.n)
                    self._halve()

    def _tried(self, shard: int, tell: Callable[[int], Any]) -> bool:
        """Do and commit a shard; False when memory ran out on the way."""
        try:
            attempt = Attempt(self, shard)
            attempt.run(tell)
            attempt.commit()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if self.batch_size == 1:
                raise HarvestError(
                    f"Out of memory with one row at a time; the longest has {self.corpus.index.longest} tokens.",
                    "Cut rows with max_tokens, harvest fewer sites at a time, or use a larger device.",
                ) from error
            return False
        return True

    def _halve(self) -> None:
        """Back to how things stood before the shard, with half the batch."""
        self.batch_size = halved(self.batch_size, lambda message: warnings.warn(message, stacklevel=6))
        self._restore()


class Attempt:
    """One shard on its way through the model."""

    def __init__(self, worker: Worker, shard: int) -> None:
        self.worker = worker
        self.shard = shard
        self.states: dict[tuple[str, str], State] = {at: fold.open() for at, fold in worker.folds.items()}
        self.lists: dict[tuple[str, str], Entries] = {
            (site, reducer.name): Entries(worker, reducer, spot, shard)
            for site, spot in worker.where.items()
            for reducer in worker.listing
        }
        self.sums = {site: torch.zeros((), device=spot.device) for site, spot in worker.where.items()}
        """What is NaN or infinite makes the sum so, and it is read once per shard: the device never waits for it."""
        self._rests: list[Rest] = []

    def run(self, tell: Callable[[int], Any]) -> None:
        """Reduce every batch, site by site as the forward pass gets there."""
        for block in self._forwards(self._see):
            self._settle([])
            tell(block.count)
        if not all(bool(total.isfinite()) for total in self.sums.values()):
            self._name_the_broken()

    def _forwards(self, see: Callable[[str, Tensor, Block], None]) -> Iterator[Block]:
        """Every batch of the shard through the model, `see` being given each site as the forward pass gets there."""
        model, names = self.worker.model, list(self.worker.at_site)
        for batch, block in self.worker.corpus.batches(self.shard, self.worker.batch_size, model.pad_id):
            model.run(batch, capture=names, logits=None, on_capture=partial(_hand_over, see, block))
            yield block

    def _see(self, site: str, x: Tensor, block: Block) -> None:
        for spot in self.worker.at_site[site]:
            self._reduce(spot.name, Seen(real(spot, x, block), block.tokens(x.device), block))

    def _reduce(self, name: str, seen: Seen) -> None:
        self.sums[name] += seen.x.sum(dtype=torch.promote_types(seen.x.dtype, torch.float32))
        rests = [each.update(self.states[name, each.name], seen) for each in self.worker.folding]
        rests += [self.lists[name, each.name].add(each.pick(seen)) for each in self.worker.listing]
        self._settle([rest for rest in rests if rest is not None])

    def _settle(self, rests: list[Rest]) -> None:
        """Finish the site before, now that this one's work is queued on the device."""
        for rest in self._rests:
            rest()
        self._rests = rests

    def _name_the_broken(self) -> None:
        """Look again, row by row. Sums alone may overflow: then nothing is found."""

        def look(site: str, x: Tensor, block: Block) -> None:
            for spot in self.worker.at_site[site]:
                self._refuse_broken(spot, x, block)

        for _ in self._forwards(look):
            pass

    def _refuse_broken(self, spot: Spot, x: Tensor, block: Block) -> None:
        bad = (~real(spot, x, block).isfinite()).any(-1).nonzero()
        if len(bad):
            place = self.worker.corpus.locate(block.tokens(x.device).cpu()[bad[0].cpu()])
            raise HarvestError(
                f"{spot.name} is NaN or infinite in row {int(place['rows'])} at position {int(place['positions'])}.",
                "Load the model in a wider dtype (bfloat16 or float32), or leave the row out.",
            )

    def commit(self) -> None:
        """Write the shard's lists, then the states, then the record of both."""
        worker = self.worker
        files: dict[str, str] = {}
        for (site, reducer), entries in self.lists.items():
            name = f"{label(site, reducer)}-{self.shard:05}.safetensors"
            files[name] = write_tensors(worker.corpus.folder / name, entries.in_order())
        for at, state in self.states.items():
            worker.folds[at].close(self.shard, state)
        saved = {f"{label(*at)}|{name}": x for at, fold in worker.folds.items() for name, x in fold.saved().items()}
        worker.progress.advance(self.shard, saved, files)


class Entries:
    """A shard's entries of one listing reducer at one site, gathered on the host."""

    def __init__(self, worker: Worker, reducer: Listing, spot: Spot, shard: int) -> None:
        self.corpus = worker.corpus
        self.most = reducer.most(worker.corpus.packed(shard)[1], spot)
        self.at = f"{reducer.name} at {spot.name}"
        self.count = 0
        self.parts: list[dict[str, Tensor]] = []

    def add(self, found: dict[str, Tensor]) -> Rest:
        """Start copying a block's entries to the host; the rest keeps the copies."""
        self.count += len(found["tokens"])
        if self.count > self.most:
            raise HarvestError(
                f"{self.at}: more entries than the {self.most} planned for this shard.",
                "Raise Sparse's threshold, or its density (the plan then counts on more).",
            )
        copies = {name: OnItsWay(x) for name, x in found.items()}

        def rest() -> None:
            self.parts.append({name: copy.get().clone() for name, copy in copies.items()})

        return rest

    def in_order(self) -> dict[str, Tensor]:
        """All entries by token, those of one token as they were found."""
        tokens = torch.cat([part["tokens"] for part in self.parts])
        order = tokens.argsort(stable=True)
        names = [name for name in self.parts[0] if name != "tokens"]
        columns = {name: torch.cat([part.pop(name) for part in self.parts])[order] for name in names}
        return {**columns, **self.corpus.locate(tokens[order])}


def _hand_over(see: Callable[[str, Tensor, Block], None], block: Block, site: str, x: Tensor) -> None:
    see(site, x, block)


def real(spot: Spot, x: Tensor, block: Block) -> Tensor:
    """The real tokens' activations, [n, units], in the order of rows and positions."""
    flat = x.flatten(0, 1)
    slots = block.slots(x.device)
    tokens = flat if slots is None else flat.index_select(0, slots)
    feature = spot.source.feature
    return tokens.flatten(1) if feature is None else feature(tokens)
