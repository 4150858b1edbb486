"""A data set through a model, every site reduced as it comes by, into a store that survives any interruption."""

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from actkit.batch import Batch
from actkit.errors import nearest
from actkit.harvest.features import At, Feature, Source, sources
from actkit.harvest.files import StoreError, check, read_json, remove, write_json, write_tensors
from actkit.harvest.folds import Fold, restored
from actkit.harvest.identity import differences, identity
from actkit.harvest.listings import Keep, Sparse
from actkit.harvest.plan import Plan, planned, spots
from actkit.harvest.reducing import Folding, HarvestError, Reducer, Spot
from actkit.harvest.rows import Corpus, Index, confirm, read_rows, sharded, spool
from actkit.harvest.store import KIND, MANIFEST, RESULT, Store
from actkit.harvest.summaries import Histogram, Mean, Moments
from actkit.harvest.team import Team
from actkit.harvest.topk import MOST_TOKENS, TopK
from actkit.harvest.toprows import TopRows
from actkit.harvest.worker import Progress, Worker, label
from actkit.model import Model

Data = Batch | Iterable[str] | Iterable[Sequence[int]] | Iterable[Batch] | Int[Tensor, "R T"]
Reduce = str | Reducer | Sequence[str | Reducer]

REDUCERS: dict[str, type[Reducer]] = {r.name: r for r in (Keep, Mean, Moments, Histogram, TopK, TopRows, Sparse)}
CLAIM = "claim.json"
_DATA = "data.json"
_WORK = "in-progress"
_OURS = re.compile(r"(manifest\.json|(tokens|result|.+\.(keep|sparse))-.+\.safetensors)(\.part)?")
"""Names of files this module makes in a store, beside those in its folder `work`."""


def harvest(
    model: Model,
    data: Data,
    at: At | Feature,
    *,
    reduce: Reduce,
    store: str | Path,
    resume: bool = True,
    batch_size: int = 16,
    shard_tokens: int = 1 << 20,
    max_tokens: int | None = None,
    memory_limit: int | None = None,
    quiet: bool = False,
) -> Store:
    """Run a data set through the model once and keep, of every site, what the reducers make of it.

    `data`: texts, rows of token ids, or Batches, from any iterable (a column of a `datasets.Dataset`, a generator).
    `at`: site names or globs, and features of sites. `reduce`: one reducer or several, as objects (`TopK(k=50)`) or by
    name with their defaults. `max_tokens`: rows are cut to so many. Padding never counts.

    What it takes is printed before it starts (unless `quiet`), and refused beyond `memory_limit` bytes on any one
    device or on the host, beside the model's own. It may be killed at any point: the same call goes on, redoes at most
    a shard of `shard_tokens` tokens, and ends with the same bytes; a finished store is returned as it is. `resume`
    False starts anew, in an empty folder or one that holds a harvest. When memory runs out the shard is redone with
    half the batch. Under `torchrun` or `accelerate launch` each process takes consecutive shards, the first one
    merges, and the store is, byte for byte, that of one process. Rows of like length are batched together, always
    alike; `batch_size` changes results only as far as it changes the model's own rounding.

    Raises PromptError (naming the row), UnknownSite, HarvestError (reducers, memory, NaN or infinite activations),
    StoreError (a folder of something else, of another harvest, or damaged).
    """
    reducers = reducers_of(reduce)
    _refuse_sizes(batch_size=batch_size, shard_tokens=shard_tokens, max_tokens=max_tokens, memory_limit=memory_limit)
    wanted = sources(model, at)
    folder, team = Path(store), Team()
    asked = _asked(model, wanted, reducers, shard_tokens, max_tokens)
    rows = read_rows(model, data, max_tokens)
    index = team.first(lambda: _prepared(folder, asked, rows, team.size, resume))
    if index is None:
        return Store(folder)
    _same(folder, asked)
    corpus = Corpus(folder, index)
    where = spots(model, wanted, corpus.rows(0)[0])
    _tell(_plan_of(corpus, where, reducers, batch_size, team.size), folder, memory_limit, quiet or team.rank > 0)
    progress = Progress(folder / _WORK, team.rank)
    Worker(model, corpus, where, reducers, progress, batch_size).run(team.share(len(index.shards)))
    team.wait()
    team.first(lambda: _concluded(corpus, asked, where, reducers, team.size))
    return Store(folder)


def plan_harvest(
    model: Model,
    data: Data,
    at: At | Feature,
    *,
    reduce: Reduce,
    batch_size: int = 16,
    shard_tokens: int = 1 << 20,
    max_tokens: int | None = None,
    processes: int = 1,
) -> Plan:
    """What `harvest` would take, without harvesting: the data are read once, and two tokens go through the model."""
    reducers = reducers_of(reduce)
    _refuse_sizes(batch_size=batch_size, shard_tokens=shard_tokens, max_tokens=max_tokens)
    wanted = sources(model, at)
    lengths, first = [], []
    for group in sharded(read_rows(model, data, max_tokens), shard_tokens):
        first = first or group[0]
        lengths.append(Tensor([len(row) for row in group]).long())
    if not lengths:
        raise HarvestError("The data set is empty: there is nothing to harvest.")
    return planned(spots(model, wanted, first), reducers, lengths, batch_size=batch_size, processes=processes)


def reducers_of(reduce: Reduce) -> list[Reducer]:
    """Reducers from names or objects, each kind once. Raises HarvestError."""
    wanted = list(reduce) if isinstance(reduce, Sequence) and not isinstance(reduce, str) else [reduce]
    found = [_reducer(each) for each in wanted]
    names = [reducer.name for reducer in found]
    if not found or len(set(names)) < len(names):
        raise HarvestError(f"Each reducer once, and at least one; these are {names}.")
    return found


def _reducer(wanted: object) -> Reducer:
    if isinstance(wanted, Reducer):
        return wanted
    if not isinstance(wanted, str) or wanted not in REDUCERS:
        raise HarvestError(
            f"No reducer {wanted!r}. Nearest: {nearest(str(wanted), REDUCERS)}.", f"There are {', '.join(REDUCERS)}."
        )
    return REDUCERS[wanted]()


def _refuse_sizes(**sizes: int | None) -> None:
    for name, size in sizes.items():
        if size is not None and (not isinstance(size, int) or size < 1):
            raise HarvestError(f"{name} must be at least 1, and whole, not {size!r}.")


def _asked(
    model: Model, wanted: list[Source], reducers: list[Reducer], shard_tokens: int, max_tokens: int | None
) -> Any:
    """What decides the store's bytes beside the data. Batches and processes do not."""
    asked = {
        "model": identity(model),
        "sites": [source.name for source in wanted],
        "reducers": {reducer.name: reducer.settings() for reducer in reducers},
        "shard_tokens": shard_tokens,
        "max_tokens": max_tokens,
    }
    if features := {each.name: {"site": each.site, "of": each.feature.identity()} for each in wanted if each.feature}:
        asked["features"] = features
    return json.loads(json.dumps(asked))


def _prepared(folder: Path, asked: Any, rows: Iterable[list[int]], processes: int, resume: bool) -> Index | None:
    """The data on disk, the store claimed for this very harvest; None when it is finished already."""
    _refuse_foreign(folder)
    claim = folder / _WORK / CLAIM
    begun = read_json(claim) if claim.is_file() else None
    # Nothing was computed yet when the plan was refused, say: then there is nothing to go on with either.
    idle = begun is not None and (begun["clearing"] or not any((folder / _WORK).glob("rank-*")))
    if not resume or (idle and not (folder / MANIFEST).is_file()):
        _start_anew(folder, asked, processes)
    elif (folder / MANIFEST).is_file():
        _confirm_finished(folder, asked, rows)
        return None
    elif begun is not None:
        _refuse_differences(folder, begun["asked"], asked)
        _refuse_other_team(folder, begun["processes"], processes)
    else:
        _claim(folder, asked, processes)
    return _spooled(folder, asked, rows)


def _claim(folder: Path, asked: Any, processes: int, *, clearing: bool = False) -> None:
    (folder / _WORK).mkdir(parents=True, exist_ok=True)
    claim = {"kind": KIND, "asked": asked, "processes": processes, "clearing": clearing}
    write_json(folder / _WORK / CLAIM, claim)


def _start_anew(folder: Path, asked: Any, processes: int) -> None:
    """Delete what a harvest made here; whatever else lies here stays. A kill on the way leaves a folder still ours."""
    _claim(folder, asked, processes, clearing=True)
    remove([folder / MANIFEST, *(path for path in folder.iterdir() if _OURS.fullmatch(path.name))])
    remove(_progress(folder))
    _claim(folder, asked, processes)


def _confirm_finished(folder: Path, asked: Any, rows: Iterable[list[int]]) -> None:
    done = Store(folder)
    _refuse_differences(folder, done.manifest["asked"], asked)
    confirm(folder, rows, done.corpus.index, asked["shard_tokens"])
    done.verify()
    _clear_work(folder)


def _refuse_other_team(folder: Path, before: int, now: int) -> None:
    if before != now:
        raise StoreError(
            f"{folder} was begun by {before} process(es), and this is a run of {now}.",
            "Go on with as many as before, or start anew with resume=False.",
        )


def _spooled(folder: Path, asked: Any, rows: Iterable[list[int]]) -> Index:
    """The data in the store's folder: as they are there already, or written now."""
    data = folder / _WORK / _DATA
    if data.is_file():
        index = Index.of(read_json(data))
        confirm(folder, rows, index, asked["shard_tokens"])
        return index
    index = spool(folder, rows, asked["shard_tokens"])
    if index.tokens > MOST_TOKENS:
        raise HarvestError(f"{index.tokens:,} tokens are too many for one store.", f"Harvest at most {MOST_TOKENS:,}.")
    write_json(data, index)
    return index


def _same(folder: Path, asked: Any) -> None:
    """Every process must have loaded the same model, and been asked for the same."""
    _refuse_differences(folder, read_json(folder / _WORK / CLAIM)["asked"], asked)


def _refuse_differences(folder: Path, stored: Any, asked: Any) -> None:
    if lines := differences(stored, asked):
        raise StoreError(
            f"{folder} is of another harvest:\n" + "\n".join(lines),
            "Ask for the same, take another folder, or start anew with resume=False.",
        )


def _refuse_foreign(folder: Path) -> None:
    """Only an empty folder or one of a harvest is written to."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file.", "Name a folder that is empty or not there yet.")
    ours = [path for path in (folder / MANIFEST, folder / _WORK / CLAIM) if path.is_file()]
    if any(read_json(path).get("kind") == KIND for path in ours):
        return
    if folder.exists() and (strangers := [path.name for path in folder.iterdir() if path.name != _WORK]):
        raise StoreError(
            f"{folder} holds something else ({', '.join(sorted(strangers)[:3])}), so nothing is written there.",
            "Name a folder that is empty or not there yet.",
        )


def _progress(folder: Path) -> list[Path]:
    return [*(folder / _WORK).glob("rank-*"), folder / _WORK / _DATA]


def _clear_work(folder: Path) -> None:
    """Delete what was only needed on the way, and what safetensors left when it was killed; the claim last."""
    work = folder / _WORK
    if work.is_dir():
        remove([*_progress(folder), *work.glob(".tmp*"), work / CLAIM])
        if not any(work.iterdir()):
            work.rmdir()


def _plan_of(corpus: Corpus, where: list[Spot], reducers: list[Reducer], batch_size: int, processes: int) -> Plan:
    lengths = [corpus.packed(shard)[1] for shard in range(len(corpus.index.shards))]
    return planned(where, reducers, lengths, batch_size=batch_size, processes=processes)


def _tell(plan: Plan, folder: Path, memory_limit: int | None, quiet: bool) -> None:
    if not quiet:
        print(plan, flush=True)
    plan.check(memory_limit, shutil.disk_usage(folder).free)


def _concluded(corpus: Corpus, asked: Any, where: list[Spot], reducers: list[Reducer], processes: int) -> None:
    """Merge what the processes made, write the results, and, last, the manifest that makes them a store."""
    folder = corpus.folder
    ranks = [Progress(folder / _WORK, rank) for rank in range(processes)]
    files = {name: hash_ for rank in ranks for name, hash_ in rank.files.items()}
    states = [rank.tensors() for rank in ranks]
    folding = [reducer for reducer in reducers if isinstance(reducer, Folding)]
    for spot in where if folding else ():
        name = RESULT.format(site=spot.name)
        files[name] = write_tensors(folder / name, _merged(corpus, spot, folding, states))
    for name, expected in files.items():
        check(folder / name, expected)
    sites = {s.name: {"shape": list(s.shape), "dtype": str(s.dtype).removeprefix("torch.")} for s in where}
    versions = {name: version(name) for name in ("reasonscope-actkit", "torch", "transformers")}
    manifest = {
        "kind": KIND, "asked": asked, "sites": sites, "data": corpus.index, "files": files,
        "versions": versions,
    }  # fmt: skip
    write_json(folder / MANIFEST, manifest)
    _clear_work(folder)


def _merged(corpus: Corpus, spot: Spot, reducers: list[Folding], states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The results at one site over all processes, by reducer and name."""
    found: dict[str, Tensor] = {}
    for reducer in reducers:
        folds = [Fold(reducer, spot.units, spot.device) for _ in states]
        for fold, tensors in zip(folds, states, strict=True):
            restored([(label(spot.name, reducer.name), fold)], tensors)
        first, *others = folds
        for other in others:
            first.take(other)
        result = {name: x.cpu() for name, x in first.result().items()}
        if (tokens := result.pop("tokens", None)) is not None:
            result |= corpus.locate(tokens)
        found |= {f"{reducer.name}.{name}": x for name, x in result.items()}
    return found
