"""Names of places inside a model (`mlp_post.3`), and how a request with globs becomes a list of them."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from actkit.errors import UnknownSite, nearest
from actkit.families import Family, Tap


class Site(NamedTuple):
    """One place inside one model: the module to watch, and how. `layer` is None for `embed` and `logits`."""

    name: str
    kind: str
    layer: int | None
    module: nn.Module
    tap: Tap


def sites_of(hf: nn.Module, family: Family) -> dict[str, Site]:
    """Every site of a model by name, in the order a forward pass reaches them."""
    found = [Site("embed", "embed", None, hf.get_submodule(family.embed), Tap("", "output"))]
    taps = family.taps()
    for layer, block in enumerate(blocks_of(hf, family)):
        for kind, tap in taps.items():
            found.append(Site(f"{kind}.{layer}", kind, layer, block.get_submodule(tap.path), tap))
    # The model's own output: it never needs a hook, since the caller of the forward pass holds it already.
    found.append(Site("logits", "logits", None, hf, Tap("", "output")))
    return {site.name: site for site in found}


def blocks_of(hf: nn.Module, family: Family) -> list[nn.Module]:
    """The model's decoder blocks, first to last."""
    return list(hf.get_submodule(family.blocks).children())


def expand(patterns: str | Iterable[str], sites: Mapping[str, Site], family: Family) -> list[Site]:
    """The sites meant by names or globs, in forward order and each once. Raises UnknownSite for a name without any."""
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    wanted: set[str] = set()
    for pattern in patterns:
        hits = [name for name in sites if fnmatchcase(name, pattern)]
        if not hits:
            raise _unknown(pattern, sites, family)
        wanted.update(hits)
    return [site for name, site in sites.items() if name in wanted]


def _unknown(pattern: str, sites: Mapping[str, Site], family: Family) -> UnknownSite:
    kind, _, layer = pattern.partition(".")
    layers = 1 + max(site.layer for site in sites.values() if site.layer is not None)
    if kind in family.refuses:
        return UnknownSite(f"{family.name} has no {kind}: {family.refuses[kind]}.", f"It has {_kinds(sites)}.")
    if layer.lstrip("-").isdigit() and f"{kind}.0" in sites:
        return UnknownSite(f"No site {pattern!r}: the model has layers 0 to {layers - 1}.")
    return UnknownSite(f"No site {pattern!r}. Nearest: {nearest(pattern, sites)}.", f"Kinds: {_kinds(sites)}.")


def _kinds(sites: Mapping[str, Site]) -> str:
    return ", ".join(dict.fromkeys(s.kind if s.layer is None else f"{s.kind}.L" for s in sites.values()))
