"""Forward hooks that read and write activations while a context is open, and are gone when it closes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

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
        self.shape: tuple[int, int] = (0, 0)
        self._fired: set[str] = set()
        self._by_site: dict[str, tuple[Site, list[int]]] = {}
        self._edits = [edit for edit, _ in edits]
        self._applied = [0] * len(edits)
        for i, (_, sites) in enumerate(edits):
            for site in sites:
                self._by_site.setdefault(site.name, (site, []))[1].append(i)
        self._handles: list[RemovableHandle] = []

    def open(self, keep: Keep, stop_after: nn.Module | None = None) -> Self:
        """Register the hooks; every captured tensor goes to `keep`, shaped [b, t, ...]."""
        for site, _ in self._by_site.values():
            self._hook(site, self._writer(site), prepend=True)
        for site in self.captures:
            self._hook(site, self._reader(site, keep), prepend=False)
        if stop_after is not None:
            self._handles.append(stop_after.register_forward_hook(_stop))
        return self

    def before_head(self, head: nn.Module, pick: Callable[[Tensor], Tensor]) -> None:
        """Let the LM head see only `pick(hidden states)`."""
        self._handles.append(head.register_forward_pre_hook(lambda _m, args: (pick(args[0]), *args[1:])))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self, site: Site, visit: Callable[[Tensor], Tensor | None], *, prepend: bool) -> None:
        if site.kind == "logits":
            return
        if site.tap.side == "input":
            handle = site.module.register_forward_pre_hook(_on_input(visit), prepend=prepend)
        else:
            handle = site.module.register_forward_hook(_on_output(visit), prepend=prepend)
        self._handles.append(handle)

    def _reader(self, site: Site, keep: Keep) -> Callable[[Tensor], None]:
        clone, fired, name = site.tap.clone, self._fired, site.name

        def visit(x: Tensor) -> None:
            fired.add(name)
            keep(site, self._unfold(site, x.clone() if clone else x))

        return visit

    def _writer(self, site: Site) -> Callable[[Tensor], Tensor]:
        def visit(x: Tensor) -> Tensor:
            new = self.edited(site, self._unfold(site, x))
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
            self._applied[i] += _apply(self._edits[i], x, self.layout, site.name)
        return x

    @property
    def touched(self) -> list[Site]:
        """Every site captured or edited."""
        return [*self.captures, *(site for site, _ in self._by_site.values())]

    def through(self, site: Site, x: Tensor, keep: Keep) -> Tensor:
        """Edit and capture a tensor the caller already holds, as a hook would have; returns it edited."""
        x = self.edited(site, x)
        if site in self.captures:
            self._fired.add(site.name)
            keep(site, x)
        return x

    def settle(self) -> None:
        """Raise NeverFired or EditError for anything asked for that did not happen."""
        silent = [s.name for s in self.captures if s.name not in self._fired]
        if silent:
            raise NeverFired(f"{', '.join(silent)} never ran in this forward pass, so there is nothing to capture.")
        for edit, count in zip(self._edits, self._applied, strict=True):
            if count == 0:
                raise EditError(f"{edit} was applied zero times.", "Its rows or positions are nowhere in this batch.")


def _apply(edit: Edit, x: Tensor, layout: Layout, at: str) -> int:
    """Write the edit into `x` and return how many places it touched."""
    b, t = find(edit.where, *layout)
    if not len(b):
        return 0
    index = inner(edit.where, x.shape[2:], at)
    block = x[b, t]
    places = Places(layout.rows[b].tolist(), layout.positions[b, t].tolist(), lambda v: _cut(v, index, block))
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


def _on_input(visit: Callable[[Tensor], Tensor | None]) -> Callable[..., Any]:
    """All families of the table hand the stream over as the first positional argument."""

    def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        new = visit(args[0])
        return None if new is None else (new, *args[1:])

    return hook


def _on_output(visit: Callable[[Tensor], Tensor | None]) -> Callable[..., Any]:
    def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        if not isinstance(output, tuple):
            return visit(output)
        new = visit(output[0])
        return None if new is None else (new, *output[1:])

    return hook


def _stop(*_args: object) -> None:
    raise Stop


@contextmanager
def undisturbed(hf: nn.Module, *, grad: bool = False) -> Iterator[None]:
    """Evaluation mode and the asked-for grad mode inside; every module's mode as before outside.

    `no_grad` rather than `inference_mode`: what is captured may meet autograd later.
    """
    training = [module for module in hf.modules() if module.training] if hf.training else []
    try:
        if training:
            hf.eval()
        with torch.set_grad_enabled(grad):
            yield
    finally:
        for module in training:
            module.training = True
