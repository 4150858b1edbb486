"""Forward hooks that read and write activations while a context is open, and are gone when it closes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import Cache

from actkit import attention, experts
from actkit.current import PROBE, held, is_held
from actkit.edits import Edit, Places, changed
from actkit.errors import EditError, NeverFired
from actkit.sites import Site
from actkit.where import find, inner

Keep = Callable[[Site, Tensor], None]


class Layout(NamedTuple):
    """What the slots of the forward pass now running stand for."""

    rows: Tensor
    """[b] original row numbers."""
    positions: Tensor
    """[b, t] index among the row's real tokens; -1 at padding."""
    lengths: Tensor | None
    """[b] real tokens per row; None while decoding, when the text is not finished."""
    start: int = 0
    """Slots that went through the model in earlier passes of the same decoding."""
    even: bool = False
    """Whether slots and real tokens are known to be the same, because there is no padding."""


class Stop(BaseException):
    """Ends a forward pass early. Not an Exception, so that no handler on the way takes it for a fault."""


class Probe:
    """Edits first, then captures, at the sites asked for, while the context is open.

    Edits are prepended so that Hugging Face's own recorders, installed once and for good, see the edited stream;
    captures come last and see what the model really goes on with. Set `layout` before every forward pass.
    """

    def __init__(self, captures: Sequence[Site], edits: Sequence[tuple[Edit, list[Site]]], heads: int) -> None:
        self.captures = captures
        self.heads = heads
        self.layout: Layout | None = None
        self.cache: Cache | None = None
        """While decoding, what carries keys and values into later passes."""
        self.shape: tuple[int, int] = (0, 0)
        self.inside: dict[nn.Module, dict[str, Site]] = {}
        """Attention and expert modules with the sites asked for that lie within their forward."""
        self._captured = {site.name for site in captures}
        self._fired: set[str] = set()
        self._by_site: dict[str, tuple[Site, list[int]]] = {}
        self.edits = [edit for edit, _ in edits]
        self._applied = [0] * len(edits)
        for i, (_, sites) in enumerate(edits):
            for site in sites:
                self._by_site.setdefault(site.name, (site, []))[1].append(i)
        self._keep: Keep = _ignore
        self._stack = ExitStack()

    @property
    def needs_layout(self) -> bool:
        """Whether anything asked for depends on which slot is which token."""
        return bool(self.edits) or any(site.tap.side == "inside" for site in self.captures)

    @property
    def decoding(self) -> bool:
        """Whether keys and values are carried into later passes."""
        return self.cache is not None

    def cached(self, x: Tensor) -> bool:
        """Whether `x` is the cache's own memory."""
        layers = [] if self.cache is None else self.cache.layers
        held = [getattr(layer, name, None) for layer in layers for name in ("keys", "values")]
        place = x.untyped_storage().data_ptr()
        return any(isinstance(h, Tensor) and h.untyped_storage().data_ptr() == place for h in held)

    def open(self, keep: Keep, stop_after: nn.Module | None = None) -> Self:
        """Register the hooks; every captured tensor goes to `keep`, shaped [b, t, ...]."""
        self._keep = keep
        token = PROBE.set(self)
        self._stack.callback(PROBE.reset, token)
        for site, _ in self._by_site.values():
            self._hook(site, self._rewriter(site, self.edited), prepend=True)
        for site in self.captures:
            self._hook(site, self._reader(site), prepend=False)
        for module in self.inside:
            if any(kind in experts.KINDS for kind in self.inside[module]):
                self._until_closed(module.register_forward_hook(self._in_experts, with_kwargs=True))
        attentions = [module for module, sites in self.inside.items() if not sites.keys().isdisjoint(attention.KINDS)]
        if attentions:
            self._stack.enter_context(attention.redirected(attentions))
        if stop_after is not None:
            self._until_closed(stop_after.register_forward_hook(self._stop))
        return self

    def rooted(self, embed: nn.Module) -> None:
        """Start the graph at the embedding's output, also where every parameter is frozen."""

        def hook(_module: nn.Module, _args: tuple[Any, ...], out: Tensor) -> Tensor | None:
            frozen = PROBE.get() is self and not out.requires_grad
            # A copy, because some models scale the embedding in place, which autograd forbids for where a graph starts.
            return out.requires_grad_().clone() if frozen else None

        self._until_closed(embed.register_forward_hook(hook, prepend=True))

    def before_head(self, head: nn.Module, pick: Callable[[Tensor], Tensor]) -> None:
        """Let the LM head see only `pick(hidden states)`."""

        def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            return (pick(args[0]), *args[1:]) if PROBE.get() is self else None

        self._until_closed(head.register_forward_pre_hook(hook))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _until_closed(self, handle: RemovableHandle) -> None:
        self._stack.callback(handle.remove)

    def _stop(self, *_args: object) -> None:
        if PROBE.get() is self:
            raise Stop

    def _hook(self, site: Site, visit: Callable[[Tensor], Tensor | None], *, prepend: bool) -> None:
        module, side = site.module, site.tap.side
        if site.kind == "logits":
            return
        if side == "inside":
            self.inside.setdefault(module, {})[site.kind] = site
        elif side == "input":
            hook = partial(_on_input, self, visit)
            self._until_closed(module.register_forward_pre_hook(hook, prepend=prepend, with_kwargs=True))
        else:
            self._until_closed(module.register_forward_hook(partial(_on_output, self, visit), prepend=prepend))

    def _in_experts(self, module: nn.Module, args: tuple[Any, ...], *rest: Any) -> Any:
        if PROBE.get() is not self:
            return None  # another thread, which may come between torch's noting a hook and that it takes keywords
        kwargs, out = rest
        routed = experts.Routed(
            *args, **{name: kwargs[field] for name, field in experts.FIELDS.items() if field in kwargs}
        )
        return experts.visited(self, self.inside[module], module, routed, out)

    def _reader(self, site: Site) -> Callable[[Tensor], Tensor | None]:
        if torch.is_grad_enabled():
            return self._rewriter(site, self._handed)

        def visit(x: Tensor) -> None:
            self._handed(site, self._unfold(site, x.clone() if site.tap.clone else x))

        return visit

    def _handed(self, site: Site, x: Tensor) -> Tensor:
        """Give `x` to the caller; with a graph kept the model goes on from that very tensor, so the graph holds it."""
        self._fired.add(site.name)
        if not torch.is_grad_enabled():
            # A slice of something larger, such as fused queries, keys and values, would keep all of that alive.
            whole = x.untyped_storage().nbytes() <= x.numel() * x.element_size()
            self._keep(site, x if whole else x.clone())
            return x
        x = x.clone()
        self._keep(site, x)
        return x.clone() if site.tap.clone else x.view_as(x)

    def _rewriter(self, site: Site, change: Callable[[Site, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def visit(x: Tensor) -> Tensor:
            new = change(site, self._unfold(site, x))
            if site.tap.in_place:
                return x.copy_(new.view_as(x))
            return new.reshape(x.shape)

        return visit

    def _unfold(self, site: Site, x: Tensor) -> Tensor:
        """[b, t, ...] from what the module handles: OPT folds batch and time, attention folds its heads."""
        if x.dim() == 2:
            x = x.view(*self.shape, -1)
        return x.unflatten(-1, (self.heads, -1)) if site.tap.per_head else x

    def edited(self, site: Site, x: Tensor) -> Tensor:
        """`x` of `site`, [b, t, ...], after this probe's edits there. The input is left as it was."""
        if site.name not in self._by_site:
            return x
        assert self.layout is not None, "a probe with edits needs a layout before each forward pass"
        x = x.clone()
        for i in self._by_site[site.name][1]:
            self._applied[i] += _apply(self.edits[i], x, self.layout, site.name)
        return x

    @property
    def touched(self) -> list[Site]:
        """Every site captured or edited."""
        return [*self.captures, *(site for site, _ in self._by_site.values())]

    def through(self, site: Site, x: Tensor) -> Tensor:
        """Edit and capture a tensor the caller already holds, as a hook would have; returns it edited."""
        x = self.edited(site, x)
        return self._handed(site, x) if site.name in self._captured else x

    def settle(self) -> None:
        """Raise NeverFired or EditError for anything asked for that did not happen."""
        silent = [s.name for s in self.captures if s.name not in self._fired]
        if silent:
            raise NeverFired(f"{', '.join(silent)} never ran in this forward pass, so there is nothing to capture.")
        for edit, count in zip(self.edits, self._applied, strict=True):
            if count == 0:
                raise EditError(f"{edit} was applied zero times.", "Its rows or positions are nowhere in this batch.")


def _apply(edit: Edit, x: Tensor, layout: Layout, at: str) -> int:
    """Write the edit into `x` and return how many places it touched."""
    b, t = (index.to(x.device) for index in find(edit.where, layout.rows, layout.positions, layout.lengths))
    if not len(b):
        return 0
    index = inner(edit.where, x.shape[2:], at)
    block = x[b, t]
    places = Places(layout.rows.to(b.device)[b], layout.positions.to(b.device)[b, t], lambda v: _cut(v, index, block))
    if edit.where.heads is None and edit.where.units is None:
        block = changed(edit, at, block, places)
    else:
        block[index] = changed(edit, at, block[index], places)
    x[b, t] = block
    return len(b)


def _cut(vector: Tensor, index: tuple[Any, ...], block: Tensor) -> Tensor:
    """A vector over the whole site, restricted to the touched heads and units."""
    if vector.shape != block.shape[1:]:
        raise EditError(
            f"A vector of the whole site is needed here, of shape {list(block.shape[1:])}, not {list(vector.shape)}."
        )
    return vector[index[1:]]


def _on_input(
    probe: Probe,
    visit: Callable[[Tensor], Tensor | None],
    _module: nn.Module,
    args: tuple[Any, ...],
    *rest: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The stream is the first positional argument; some families pass it by its name."""
    if PROBE.get() is not probe:
        return None  # another thread, which may come between torch's noting a hook and that it takes keywords
    (kwargs,) = rest
    new = visit(args[0] if args else kwargs["hidden_states"])
    if new is None:
        return None
    return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})


def _on_output(
    probe: Probe, visit: Callable[[Tensor], Tensor | None], _module: nn.Module, _args: tuple[Any, ...], output: Any
) -> Any:
    if PROBE.get() is not probe:
        return None
    if not isinstance(output, tuple | list):
        return visit(output)
    new = visit(output[0])
    return None if new is None else type(output)((new, *output[1:]))


def _ignore(_site: Site, _x: Tensor) -> None:
    pass


@contextmanager
def undisturbed(hf: nn.Module, *, grad: bool = False) -> Iterator[None]:
    """Evaluation mode and the asked-for grad mode inside; every module's mode as before outside.

    `no_grad` rather than `inference_mode`: what is captured may meet autograd later.
    """
    key = (id(hf), "eval")
    with ExitStack() as stack:
        if hf.training or is_held(key):
            stack.enter_context(held(key, partial(_evaluating, hf)))
        stack.enter_context(torch.set_grad_enabled(grad))
        yield


def _evaluating(hf: nn.Module) -> Callable[[], None]:
    training = [module for module in hf.modules() if module.training]
    hf.eval()

    def undo() -> None:
        for module in training:
            module.training = True

    return undo
