"""From what `--features` names to what a harvest takes at each layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import actkit
from runkit.errors import UsageError, nearest

from expgen.sources import directions, heads, saes
from expgen.sources.files import Found

_FILES: dict[str, Callable[[str, actkit.Model], Found]] = {"directions": directions.read, "sae": saes.read}
_WRITE = "write a site (such as mlp_post), heads, directions:FILE.safetensors or sae:FOLDER"


@dataclass(frozen=True)
class Source:
    """One kind of features in some layers. `name`: mlp_post or another site, heads, directions-NAME or sae-NAME."""

    name: str
    by_layer: Mapping[int, str | actkit.Feature]
    origin: Any

    @property
    def layers(self) -> list[int]:
        """The layers that have it, ascending."""
        return sorted(self.by_layer)

    def at(self, layer: int) -> str | actkit.Feature:
        """What `actkit.harvest` is given: a site's name, or a feature of a site, called NAME.LAYER."""
        return self.by_layer[layer]

    def identity(self) -> Any:
        """What decides which features these are, as JSON holds it; of files, digests of their content."""
        return {"name": self.name, "layers": self.layers, "origin": self.origin}


def open_sources(names: Sequence[str], model: actkit.Model, layers: Sequence[int]) -> list[Source]:
    """The sources that are named, in the layers asked for (none: all that have them).

    Files that hold some of these layers only are taken in those.

    Raises:
        UsageError: no such site, layer, file or folder; says what there is.
        DataError: a file is not what it should be, or does not fit the model.
    """
    for layer in layers:
        if layer >= model.dims.layers:
            raise UsageError(f"--layers {layer}: the model has layers 0 to {model.dims.layers - 1}")
    found = [_source(name, model, layers) for name in dict.fromkeys(names)]
    called = [source.name for source in found]
    for name in called:
        if called.count(name) > 1:
            raise UsageError(f"--features: two sources are called {name}; rename the file or folder of one of them")
    return found


def _source(name: str, model: actkit.Model, layers: Sequence[int]) -> Source:
    kind, colon, place = name.partition(":")
    if colon:
        return _of_files(kind, place, model, layers)
    if kind == "heads":
        by_layer = heads.features(model, _layers(model, "attn_z", name, layers))
        return Source(name, by_layer, "norm of what a head writes")
    return Source(name, {layer: f"{kind}.{layer}" for layer in _layers(model, kind, name, layers)}, "site")


def _of_files(kind: str, place: str, model: actkit.Model, layers: Sequence[int]) -> Source:
    if kind not in _FILES:
        raise UsageError(f"--features {kind}:{place}: {nearest(kind, _FILES)} or {_WRITE}")
    name, by_layer, origin = _FILES[kind](place, model)
    wanted = {layer: each for layer, each in by_layer.items() if not layers or layer in layers}
    if not wanted:
        there = ", ".join(map(str, sorted(by_layer)))
        raise UsageError(f"--features {kind}:{place} has layers {there}, none of --layers {','.join(map(str, layers))}")
    return Source(name, wanted, origin)


def _layers(model: actkit.Model, kind: str, asked: str, layers: Sequence[int]) -> list[int]:
    """The layers asked for, if all of them have such sites; all that have them if none is asked for."""
    if kind == "attn_pattern":
        raise UsageError("--features attn_pattern: its size changes with the text, so it has no units; take heads")
    if kind in model.sites:
        raise UsageError(f"--features {asked}: it belongs to no layer; {_WRITE}")
    try:
        sites = model.find([f"{kind}.{layer}" for layer in layers] or f"{kind}.*")
    except actkit.UnknownSite as error:
        raise UsageError(f"--features {asked}: {error}\n{_WRITE.capitalize()}.") from None
    return sorted(site.layer for site in sites if site.layer is not None)
