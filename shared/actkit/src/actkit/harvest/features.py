"""Features read off a site's activations and harvested like its units: heads, directions, an encoder's latents."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from actkit.errors import UnknownSite
from actkit.model import Model
from actkit.run import Patterns
from actkit.sites import expand


class Feature(ABC):
    """A function of one site's activations at one token. `name`: what the store calls it; `site`: what it reads."""

    name: str
    site: str

    @abstractmethod
    def __call__(self, x: Float[Tensor, "n *units"]) -> Float[Tensor, "n F"]:
        """The features of n tokens, on the device of `x`."""

    @abstractmethod
    def identity(self) -> Any:
        """What decides the values, such as a digest of weights, as JSON holds it."""


class Source(NamedTuple):
    """What units are taken from: a site as it is, or a feature of it."""

    name: str
    kind: str
    site: str
    feature: Feature | None = None


At = Patterns | Iterable[str | Feature]


def sources(model: Model, at: At | Feature) -> list[Source]:
    """What is asked for, in the order of the forward pass. Raises UnknownSite, also for what has no units to reduce."""
    patterns, features = _parted(at)
    plain = {site.name for site in expand(patterns, model.sites, model.family)}
    found: list[Source] = []
    for site in expand([*patterns, *(each.site for each in features)], model.sites, model.family):
        if site.kind == "attn_pattern":
            raise UnknownSite(
                f"{site.name} cannot be harvested: its size changes with the text, so it has no units.",
                "Use Model.run(capture=...) batch by batch.",
            )
        found += [Source(site.name, site.kind, site.name)] if site.name in plain else []
        found += [Source(f.name, f.name.partition(".")[0], site.name, f) for f in features if f.site == site.name]
    names = [source.name for source in found]
    if len(set(names)) < len(names):
        raise UnknownSite(f"Two of these have one name: {', '.join(names)}.")
    return found


def _parted(at: At | Feature) -> tuple[list[str], list[Feature]]:
    given = [at] if isinstance(at, str | Feature) else list(at)
    return [each for each in given if isinstance(each, str)], [each for each in given if isinstance(each, Feature)]
