"""Which cells a trace has, which of a cell's rows a patch can change, and how these share forward passes."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from actkit.errors import ActkitError
from actkit.model import Model
from actkit.sites import Site
from actkit.tracing.inputs import Column, Pairs

LOCAL = frozenset({"attn_z", "attn_out", "mlp_post", "mlp_out", "resid_post"})
"""Kinds after which, within their block, no token looks at another: at the last block only the last token matters."""


class Line(NamedTuple):
    """One site of a grid: a kind, and the head when heads are patched one at a time."""

    kind: str
    head: int | None

    @property
    def name(self) -> str:
        return self.kind if self.head is None else f"{self.kind}[{self.head}]"


def sites_at(model: Model, at: str | Iterable[str]) -> dict[str, list[Site]]:
    """The sites meant, by kind, in the order asked for. A bare kind ("resid_post") means every layer.

    Raises UnknownSite and ActkitError.
    """
    wanted = [at] if isinstance(at, str) else list(at)
    patterns = [name if "." in name or name in model.sites else f"{name}.*" for name in wanted]
    found: dict[str, list[Site]] = {}
    for site in (site for pattern in patterns for site in model.find(pattern)):
        if site.layer is None:
            raise ActkitError(f"{site.name} has no layers to trace.", "resid_pre.0 is the stream the embedding gives.")
        if site not in found.setdefault(site.kind, []):
            found[site.kind].append(site)
    return {kind: sorted(sites, key=layer_of) for kind, sites in found.items()}


def lines_of(model: Model, sites: Iterable[str], per_head: bool) -> list[Line]:
    """A grid's lines: one per kind, or one per head of it. Raises ActkitError for kinds without heads."""
    if not per_head:
        return [Line(kind, None) for kind in sites]
    wide, narrow = ("attn_z", "attn_q", "attn_pattern"), ("attn_k", "attn_v")
    heads: dict[str, int] = {kind: model.dims.heads if kind in wide else model.dims.kv_heads for kind in wide + narrow}
    if without := [kind for kind in sites if kind not in heads]:
        raise ActkitError(f"{without[0]} has no heads.", f"With per_head=True trace {', '.join(heads)}.")
    return [Line(kind, head) for kind in sites for head in range(heads[kind])]


def layer_of(site: Site) -> int:
    """The layer of a site that has one."""
    assert site.layer is not None
    return site.layer


def windowed(model: Model, site: Site, window: int) -> list[Site]:
    """The site and its neighbours: `window` layers centred on it (Meng et al. 2022, appendix B.1), cut at the ends.

    An even window reaches one layer further down than up.
    """
    first, last = layer_of(site) - window // 2, layer_of(site) - (-window // 2)
    layers = range(max(0, first), min(model.dims.layers, last))
    return [model.sites[f"{site.kind}.{layer}"] for layer in layers]


class Task(NamedTuple):
    """One row of one cell: the base row, the slots patched, and the grid's line and column it counts for."""

    row: int
    slots: tuple[int, ...]
    line: int
    column: int


def tasks(
    pairs: Pairs, rows: Sequence[int], columns: Sequence[Column], lines: Sequence[int], *, last_only: bool
) -> list[Task]:
    """Everything a patch can change in these rows. A task's `row` is the place among them.

    Left out are slots before the first one where the two runs differ and, with `last_only`, all but the last one.
    """
    found = []
    for j, column in enumerate(columns):
        for i, row in enumerate(rows):
            pair = row // pairs.samples
            lowest = pairs.lengths[pair] - 1 if last_only else pairs.first[pair]
            slots = tuple(pairs.offsets[pair] + p for p in column.positions[pair] if p >= lowest)
            found += [Task(i, slots, line, j) for line in lines if slots]
    return found


def passes(work: Iterable[Task], batch_size: int, cost: int) -> list[list[Task]]:
    """Groups of at most `batch_size` rows that go through the model together, each fed from its leftmost slot on.

    Tasks further right join a group as long as what they are fed in vain stays below `cost` tokens, those of a pass.
    """
    groups: list[list[Task]] = []
    start = wasted = 0
    for task in sorted(work, key=lambda task: min(task.slots)):
        wasted += min(task.slots) - start
        if not groups or len(groups[-1]) == batch_size or wasted > cost:
            groups.append([])
            start, wasted = min(task.slots), 0
        groups[-1].append(task)
    return groups


def pass_cost(model: Model) -> int:
    """What one more pass costs, in tokens fed: weights are read once more, and accelerators wait for launches."""
    if model.device.type == "cpu":
        return 24
    return 128 + int(4e12 / sum(parameter.numel() for parameter in model.hf.parameters()))


def default_batch_size(model: Model, pairs: Pairs) -> int:
    """Rows whose activations within one block fit 32 MB on a CPU, whose caches are small, and 1 GiB elsewhere."""
    dims, width = model.dims, pairs.clean.input_ids.shape[1]
    row = (width * (8 * dims.d_model + 3 * dims.d_mlp) + dims.vocab) * model.hf.dtype.itemsize
    return max(1, (1 << (25 if model.device.type == "cpu" else 30)) // row)
