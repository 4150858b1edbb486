"""Stage `toy`: make a world whose questions are answered by recalling facts and inferring from them."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import runkit

from memreason import data, tables
from memreason.options import ToyOptions
from memreason.student import MERGED
from memreason.trace import MEMORY, Item
from memreason.world import asking, figures, making, telling
from memreason.world.content import Content

_COLUMNS = {"split": pl.String, "kind": pl.String, "recalled": pl.Int64}


def toy(options: ToyOptions) -> Path:
    """Run the stage: `world.json`, tables `traces` and `texts`, an untrained model. Returns its folder.

    Raises:
        UsageError: sizes that make no world, or more questions than there are.
    """
    with runkit.stage("memreason.toy", options) as run:
        if run.finished:
            return run.folder
        world = making.make(options)
        found = list(telling.items(world, asking.drawn(world, options), options))
        texts = telling.texts(world, options)
        parameters = _model(run, world, options)
        world.save(run.folder / data.WORLD)
        run.artifact(data.WORLD)
        run.table("traces", data.table(found), tables.Traces)
        run.table("texts", pl.DataFrame({"text": texts}), tables.Texts)
        counts = counted(found)
        run.figure("world", figures.asked(counts))
        _tell(run, world, counts, {"texts": len(texts), "parameters": parameters})
        return run.folder


def counted(found: Sequence[Item]) -> pl.DataFrame:
    """Rows of split, kind, recalled (memory steps) and n: how many such questions there are."""
    rows = [(item.split, item.id.split("-", 2)[2], item.trace.kinds().count(MEMORY)) for item in found]
    frame = pl.DataFrame(rows, schema=_COLUMNS, orient="row")
    order = {kind: number for number, kind in enumerate(sorted(frame["kind"].unique(), key=_by_depth))}
    grouped = frame.group_by(*_COLUMNS, maintain_order=True).agg(n=pl.len())
    splits = {split: number for number, split in enumerate(frame["split"].unique(maintain_order=True))}
    by = [pl.col("split").replace_strict(splits), pl.col("kind").replace_strict(order), pl.col("recalled")]
    return grouped.sort(by)


def _by_depth(kind: str) -> tuple[int, str]:
    return kind.count("."), kind


def _model(run: runkit.StageRun, world: Content, options: ToyOptions) -> int:
    from memreason.world import untrained

    parameters = untrained.save(run.folder / MERGED, telling.words(world), options)
    run.model(MERGED, kind="untrained")
    return parameters


def _tell(run: runkit.StageRun, world: Content, counts: pl.DataFrame, sizes: dict[str, int]) -> None:
    sizes = {"people": len(world.people), "removed_people": len(world.removed), "facts": len(world.told()), **sizes}
    told: dict[str, str] = {}
    for (split,), its in counts.group_by("split", maintain_order=True):
        of_kinds: dict[str, int] = dict(its.group_by("kind", maintain_order=True).agg(pl.col("n").sum()).rows())
        run.metrics({f"{split}/{kind}": n for kind, n in of_kinds.items()})
        told[str(split)] = f"{sum(of_kinds.values()):,}: " + ", ".join(f"{n} {kind}" for kind, n in of_kinds.items())
    run.metrics(sizes)
    run.summary(sizes | told)
