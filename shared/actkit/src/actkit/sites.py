"""Names of places inside a model (`mlp_post.3`), and how a request with globs becomes a list of them."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from actkit import attention, experts
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
    """Every site of a model by name, in the order a forward reaches them. Layers of hybrids have different ones."""
    found = [
        Site(
            "embed",
            "embed",
            None,
            hf.get_submodule(family.embed),
            Tap("", "output", clone="embed" in family.overwrites),
        )
    ]
    for layer, block in enumerate(blocks_of(hf, family)):
        taps = {**family.taps(block), **_inside(block, family)}
        for kind in sorted(taps, key=_ORDER.index):
            found.append(Site(f"{kind}.{layer}", kind, layer, block.get_submodule(taps[kind].path), taps[kind]))
    # The model's own output: it never needs a hook, since the caller of the forward pass holds it already.
    found.append(Site("logits", "logits", None, hf, Tap("", "output")))
    return {site.name: site for site in found}


_ORDER = ["resid_pre", *attention.KINDS, "attn_z", "attn_out", "resid_mid", "shared_post", *experts.KINDS, "mlp_out"]
_ORDER += ["resid_post"]


def _inside(block: nn.Module, family: Family) -> dict[str, Tap]:
    """Sites within the forward of attention or experts, where these go through Hugging Face's public interfaces."""
    found: dict[str, Tap] = {}
    path = family.path(block, "attn")
    if path is not None:
        found |= dict.fromkeys(attention.kinds_of(block.get_submodule(path)), Tap(path, "inside"))
    path = family.path(block, "experts")
    if path is not None and experts.serves(block.get_submodule(path)):
        found |= dict.fromkeys(experts.KINDS, Tap(path, "inside"))
    return {kind: tap for kind, tap in found.items() if kind not in family.refuses}


def blocks_of(hf: nn.Module, family: Family) -> list[nn.Module]:
    """The model's decoder blocks, first to last."""
    return list(hf.get_submodule(family.blocks).children())


def expand(patterns: str | Iterable[str], sites: Mapping[str, Site], family: Family) -> list[Site]:
    """The sites meant by names or globs, in forward order and each once. Raises UnknownSite for a name without any.

    A glob takes the layers that have the site; a layer asked for by number that has not is an error that says why.
    """
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
    elsewhere = any(site.kind == kind for site in sites.values())
    if kind in _ORDER and not elsewhere:
        return UnknownSite(f"{family.name} has no {kind}: {_why(kind, sites, family)}.", f"It has {_kinds(sites)}.")
    if layer.lstrip("-").isdigit() and elsewhere:
        if 0 <= int(layer) < layers:
            return _absent(kind, int(layer), sites, family)
        return UnknownSite(f"No site {pattern!r}: the model has layers 0 to {layers - 1}.")
    return UnknownSite(f"No site {pattern!r}. Nearest: {nearest(pattern, sites)}.", f"Kinds: {_kinds(sites)}.")


def _absent(kind: str, layer: int, sites: Mapping[str, Site], family: Family) -> UnknownSite:
    """A site that other layers have."""
    here = ", ".join(site.kind for site in sites.values() if site.layer == layer)
    block = sites[f"resid_pre.{layer}"].module
    what = family.mixer(block) if kind.startswith("attn") else _mlp_kind(block, family)
    return UnknownSite(
        f"layer {layer} has no {kind}: it is a {what or 'different'} layer.",
        f"Layer {layer} has {here}. Layers with {kind}: {', '.join(_layers(kind, sites))}; {kind}.* means those.",
    )


def _layers(kind: str, sites: Mapping[str, Site]) -> list[str]:
    return [str(site.layer) for site in sites.values() if site.kind == kind]


def _mlp_kind(block: nn.Module, family: Family) -> str | None:
    if family.part(block, "experts") is not None:
        return "mixture-of-experts"
    return "dense" if family.part(block, "mlp_down") is not None else family.mixer(block)


def _why(kind: str, sites: Mapping[str, Site], family: Family) -> str:
    """Why no layer of this model has sites of this kind."""
    if kind in family.refuses:
        return family.refuses[kind]
    blocks = [site.module for site in sites.values() if site.kind == "resid_pre"]
    if kind.startswith("attn"):
        mixers = {word for block in blocks if (word := family.mixer(block))}
        if mixers:
            return f"its layers are {' and '.join(sorted(mixers))} layers, without attention"
        return "its attention does not go through Hugging Face's attention interface"
    if kind in ("expert_weights", "shared_post"):
        return "it has no experts" if family.experts is None else f"its experts give no {kind}"
    return "no module of its layers holds it"


def _kinds(sites: Mapping[str, Site]) -> str:
    return ", ".join(dict.fromkeys(s.kind if s.layer is None else f"{s.kind}.L" for s in sites.values()))
