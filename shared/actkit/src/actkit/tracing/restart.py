"""Forward passes that take up a base run in its middle: at any block and any column, from what that run left there.

The model's own forward runs as always. Blocks below the first one that can change hand on what they get instead of
computing; before the first one that does compute, the base run's stream takes its place. Columns to the left of the
first one that can change are not fed at all: their keys and values come from the base run. The LM head sees the last
real token alone. Whether a model may be run so is not assumed but tried on the base run's own rows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from actkit.batch import Batch
from actkit.current import PROBE, held
from actkit.edits import Edit
from actkit.errors import NeverFired
from actkit.hooks import Layout, Probe
from actkit.model import Model
from actkit.run import refuse_nan
from actkit.sites import Site
from actkit.where import Where

Write = Callable[[Tensor], Tensor]


class Resumed(Probe):
    """A probe that writes what `writes` says at each site, and takes up the model at the input of block `resume`."""

    def __init__(
        self, model: Model, sites: Iterable[Site], *, captures: Sequence[Site] = (), resume: Site | None = None
    ) -> None:
        sites = [site for site in sites if site is not resume]
        super().__init__(captures, [(Edit(site.name, Where()), [site]) for site in sites], model.dims.heads)
        self.writes: dict[str, Write] = {}
        self.resume = resume
        self.slots: Tensor | None = None
        self._skipped = frozenset(map(id, model.blocks[: resume.layer])) if resume else frozenset()

    def skips(self, block: nn.Module) -> bool:
        """Whether this block hands on what it gets."""
        return id(block) in self._skipped

    def begin(self, model: Model, keep: Callable[[Site, Tensor], None]) -> None:
        """Register all hooks."""
        self.open(keep)
        if self.resume is not None:
            # Last, so that a user's own hook on that block, already seen in the base run, does not act twice.
            self._hook(self.resume, partial(self.edited, self.resume), prepend=False)
        self.before_head(model.head, self._last)

    def edited(self, site: Site, x: Tensor) -> Tensor:
        """`x` of `site` with what is to be written there."""
        write = self.writes.get(site.name)
        return x if write is None else write(x)

    def _last(self, x: Tensor) -> Tensor:
        assert self.slots is not None
        return x.take_along_dim(self.slots.to(x.device), dim=1)


@contextmanager
def resumable(model: Model) -> Iterator[None]:
    """Inside, blocks can be skipped by the passes of a thread; other threads and plain calls notice nothing."""
    with ExitStack() as stack:
        for block in model.blocks:
            stack.enter_context(held((id(block), "resume"), partial(_bypass, block)))
        yield


def _bypass(block: Any) -> Callable[[], None]:
    """Put a forward before the block's own that can hand on its input; returns what takes it away."""
    own, forward, width = vars(block).get("forward"), block.forward, 0

    @wraps(forward)
    def maybe(*args: Any, **kwargs: Any) -> Any:
        nonlocal width
        probe = PROBE.get()
        if isinstance(probe, Resumed) and probe.skips(block):
            x = args[0] if args else kwargs["hidden_states"]
            return (x, *[None] * (width - 1)) if width else x
        out = forward(*args, **kwargs)
        width = len(out) if isinstance(out, tuple) else 0
        return out

    def undo() -> None:
        if own is None:
            del block.forward
        else:
            block.forward = own

    block.forward = maybe
    return undo


class Seen(NamedTuple):
    """A run of b rows: captures by site, last-token logits, and the key-value cache where it can be cut anywhere."""

    batch: Batch
    values: dict[str, Tensor]
    logits: Float[Tensor, "b V"]
    cache: list[tuple[Tensor, Tensor]] | None


def observe(
    model: Model, batch: Batch, sites: Sequence[Site], noise: Tensor | None = None, *, cached: bool = False
) -> Seen:
    """One whole forward that captures `sites`, with `noise` [b, T, E] added to the embeddings."""
    refuse_nan(model, batch)
    embed, sites = model.sites["embed"], list(dict.fromkeys(sites))
    values: dict[str, Tensor] = {}
    with Resumed(model, [embed], captures=sites) as probe:
        if noise is not None:
            probe.writes["embed"] = lambda x: x + noise.to(x)
        probe.begin(model, lambda site, x: values.__setitem__(site.name, x))
        if torch.is_grad_enabled():
            probe.rooted(embed.module)
        out = _call(model, probe, batch, torch.arange(len(batch), device=model.device), 0, use_cache=cached)
    if silent := [site.name for site in sites if site.name not in values]:
        raise NeverFired(f"{', '.join(silent)} never ran in this forward pass, so there is nothing to trace.")
    cache = _cut_anywhere(model, getattr(out, "past_key_values", None), batch) if cached else None
    return Seen(batch, values, out.logits[:, 0], cache)


def _call(model: Model, probe: Resumed, batch: Batch, rows: Tensor, start: int, **options: Any) -> Any:
    """The model's own forward over these rows, from column `start` on."""
    positions = batch.positions[rows, start:]
    probe.shape = (positions.shape[0], positions.shape[1])
    probe.layout = Layout(rows, positions, batch.lengths[rows])
    probe.slots = batch.last[rows, None, None] - start
    return model.hf(
        input_ids=batch.input_ids[rows, start:],
        attention_mask=batch.attention_mask[rows],
        position_ids=batch.position_ids[rows, start:],
        **options,
    )


def _cut_anywhere(model: Model, cache: Any, batch: Batch) -> list[tuple[Tensor, Tensor]] | None:
    """Every block's keys and values at every column; None for a model that keeps anything else, or less."""
    layers: list[Any] = list(cache.layers) if isinstance(cache, DynamicCache) else []
    kinds = {type(layer) for layer in layers}
    if len(layers) != len(model.blocks) or not kinds <= {DynamicLayer, DynamicSlidingWindowLayer}:
        return None
    if any(layer.keys is None or layer.keys.shape[-2] != batch.input_ids.shape[1] for layer in layers):
        return None
    return [(layer.keys, layer.values) for layer in layers]


class Rerun:
    """Reruns of a base run's rows. `base` must have captured `embed` and every `resid_pre`."""

    def __init__(self, model: Model, base: Seen) -> None:
        self.model = model
        self.base = base
        self.skips_columns = base.cache is not None
        self.skips_blocks = True
        if not self._agrees():
            self.skips_columns = False
            if not self._agrees():
                self.skips_blocks = False

    def _agrees(self) -> bool:
        """Whether base rows, resumed without any change, end where they ended. They do not where more than the stream
        passes from block to block (shared keys and values, embeddings per layer)."""
        rows = torch.arange(min(2, len(self.base.logits)), device=self.model.device)
        expected = self.base.logits[rows].float()
        allowed = (0.25 if self.model.hf.dtype.itemsize < 4 else 1e-3) * float(expected.std()) + 1e-6
        start = int(self.base.batch.last[rows].min()) // 2 if self.skips_columns else 0
        last = len(self.model.blocks) - 1
        for layer in {last // 2, last}:
            try:
                with self.at(layer, []) as again:
                    if float((again(rows, start).float() - expected).abs().max()) > allowed:
                        return False
            except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
                return False
        return True

    @contextmanager
    def at(self, layer: int, sites: Sequence[Site]) -> Iterator["Again"]:
        """Passes that begin at block `layer` and write to `sites`, none of which comes before it."""
        resume = self.model.sites[f"resid_pre.{layer}"] if self.skips_blocks else None
        outer = [] if self.skips_blocks else [self.model.sites["embed"]]
        with Resumed(self.model, [*outer, *sites], resume=resume) as probe:
            probe.begin(self.model, lambda _site, _x: None)
            yield Again(self, probe, resume or outer[0])


class Again(NamedTuple):
    """Passes through one set of hooks."""

    rerun: Rerun
    probe: Resumed
    entry: Site

    def __call__(
        self, rows: Int[Tensor, " n"], start: int = 0, writes: dict[str, Write] | None = None
    ) -> Float[Tensor, "n V"]:
        """Logits at the last real token of these base rows (any number of times each), from column `start` on.

        `writes`: what each site's [n, T - start, ...] becomes; a site that is the entry sees the base run's stream.
        """
        rerun, base, writes = self.rerun, self.rerun.base, dict(writes or {})
        start = start if rerun.skips_columns else 0
        stream = base.values[self.entry.name]
        stream = stream[rows.to(stream.device), start:]
        enter = writes.get(self.entry.name)
        self.probe.writes = writes | {self.entry.name: lambda _x: stream if enter is None else enter(stream)}
        cache = {"past_key_values": self._past(rows, start)} if start else {}
        return _call(rerun.model, self.probe, base.batch, rows, start, use_cache=bool(cache), **cache).logits[:, 0]

    def _past(self, rows: Tensor, start: int) -> DynamicCache:
        """The base run's keys and values before column `start`; blocks that are skipped get a mere shape of them."""
        assert self.rerun.base.cache is not None
        first = self.entry.layer or 0
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(self.rerun.base.cache):
            chosen = rows.to(keys.device)
            if layer < first:
                pair = tuple(x[:1, :, :start].expand(len(rows), -1, -1, -1) for x in (keys, values))
            else:
                pair = tuple(x[chosen, :, :start] for x in (keys, values))
            entry = DynamicLayer()
            entry.lazy_initialization(*pair)
            entry.keys, entry.values = pair
            cache.layers.append(entry)
        return cache
