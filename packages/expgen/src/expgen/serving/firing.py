"""Where the features of a report fire in a text: the model is run on it, as `exemplars` ran it on the corpus."""

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

import actkit
import numpy as np
import torch
from jaxtyping import Bool, Float
from runkit.errors import UsageError
from torch import Tensor

from expgen.corpus.tokens import Special
from expgen.pages.cards import pieces_of
from expgen.serving.lookup import Lookup
from expgen.sources.features import Source, open_sources
from expgen.store import SIGNS, Feature


class Token(NamedTuple):
    """A token of the text; `start` and `end` are characters, `text` what the page shows of it."""

    text: str
    start: int
    end: int


class Strong(NamedTuple):
    """A feature at a token. `activation`: times the polarity's sign; `share`: of its peak in the corpus; `sigmas`:
    standard deviations from its mean there, in the direction in which it fires.
    """

    name: str
    token: int
    activation: float
    share: float
    sigmas: float


class _Known(NamedTuple):
    """A layer's features in the corpus. `peaks`: sizes, NaN where a feature never fires so."""

    mean: Float[Tensor, " F"]
    std: Float[Tensor, " F"]
    peaks: Float[Tensor, "2 F"]


class Read(NamedTuple):
    """A text as tokens. `counts`: which are text, not special tokens."""

    ids: list[int]
    tokens: list[Token]
    counts: Bool[np.ndarray, " T"]


class Firing:
    """Asks the model; one text at a time."""

    def __init__(self, model: actkit.Model, sources: Sequence[Source], lookup: Lookup) -> None:
        self._model = model
        self._sources = {(source.name, layer): source.at(layer) for source in sources for layer in source.layers}
        self._lookup, self._lock = lookup, Lock()
        self._special = Special.of(model.tokenizer, ()).ids  # pyright: ignore[reportArgumentType]
        self._known: dict[tuple[str, int], _Known] = {}

    def read(self, text: str) -> Read:
        """The text's tokens. Raises UsageError where it has none, or more than the model reads at a time."""
        made: Any = self._model.tokenizer
        told = made(text, return_offsets_mapping=True, verbose=False)
        ids, spans = told["input_ids"], np.array(told["offset_mapping"], int).reshape(-1, 2)
        if not ids:
            raise UsageError("the text is empty: it has no tokens")
        if self._model.too_long([ids]):
            raise UsageError(f"the text has {len(ids):,} tokens, and the model reads {self._model.context:,} at a time")
        pieces = pieces_of(text, spans)
        tokens = [Token(piece, *span) for piece, span in zip(pieces, spans.tolist(), strict=True)]
        return Read(ids, tokens, np.isin(ids, self._special, invert=True))

    def one(self, text: Read, feature: Feature) -> list[float]:
        """A feature's activation at each token, times the polarity's sign. Raises UsageError for one not served."""
        at = self._at(feature.source, feature.layer)
        found: list[Float[Tensor, "T F"]] = []
        self._run(text, {(feature.source, feature.layer): at}, lambda _, values: found.append(values))
        if feature.neuron >= found[0].shape[1]:
            raise UsageError(f"{feature}: {feature.source}.{feature.layer} has features 0 to {found[0].shape[1] - 1}")
        return (found[0][:, feature.neuron] * feature.sign).tolist()

    def strongest(self, text: Read, most: int) -> list[Strong]:
        """The features that fire farthest from what they do in the corpus, each at its strongest token."""
        found: list[Strong] = []
        self._run(text, self._sources, lambda key, values: found.extend(self._top(key, values, text.counts, most)))
        return sorted(found, key=lambda each: (-each.sigmas, each.name))[:most]

    def _top(
        self, key: tuple[str, int], values: Float[Tensor, "T F"], counts: Bool[np.ndarray, " T"], most: int
    ) -> Iterator[Strong]:
        known = self._of(key)
        mean, std, peaks = (each.to(values.device) for each in known)
        away = (values - mean) / std
        sigmas = torch.stack([away, -away])
        fires = (torch.stack([values, -values]) > 0) & ~peaks.isnan()[:, None] & (std > 0)
        sigmas = sigmas.where(fires & torch.from_numpy(counts).to(values.device)[:, None], -torch.inf)
        best, token = sigmas.max(dim=1)
        told, number = best.flatten().topk(min(most, best.numel()))
        for value, at, i in zip(told.tolist(), token.flatten()[number].tolist(), number.tolist(), strict=True):
            pole, neuron = divmod(i, len(std))
            if value > 0:
                polarity, sign = list(SIGNS.items())[pole]
                activation = sign * float(values[at, neuron])
                share = activation / float(known.peaks[pole, neuron])
                yield Strong(f"{key[0]}.{key[1]}.{neuron}{polarity}", at, activation, share, value)

    def _of(self, key: tuple[str, int]) -> _Known:
        if key not in self._known:
            rows = self._lookup.statistics(*key)
            mean, std = torch.tensor([[row["mean"], row["std"]] for row in rows if row["polarity"] == "+"]).T
            peaks = [[abs(row["peak"] or torch.nan) for row in rows if row["polarity"] == pole] for pole in SIGNS]
            self._known[key] = _Known(mean, std, torch.tensor(peaks))
        return self._known[key]

    def _run(self, text: Read, wanted: Mapping[tuple[str, int], str | actkit.Feature], take: Any) -> None:
        """One forward; `take` gets each source's activations [T, F], in float32, as soon as they are there."""
        by_site: dict[str, list[tuple[tuple[str, int], str | actkit.Feature]]] = {}
        for key, at in wanted.items():
            by_site.setdefault(at if isinstance(at, str) else at.site, []).append((key, at))

        def captured(site: str, x: Tensor) -> None:
            for key, at in by_site[site]:
                take(key, (x[0].flatten(1) if isinstance(at, str) else at(x[0])).float())

        with self._lock, torch.no_grad():
            batch = self._model.encode([text.ids])
            self._model.run(batch, capture=list(by_site), logits=None, on_capture=captured)

    def _at(self, source: str, layer: int) -> str | actkit.Feature:
        if (source, layer) not in self._sources:
            there = ", ".join(f"{name}.{number}" for name, number in self._sources)
            raise UsageError(f"no {source}.{layer} is served; there is {there}")
        return self._sources[source, layer]


def sources(model: actkit.Model, about: Mapping[str, Any]) -> list[Source]:
    """The sources that the exemplars are of, in the layers they have them in.

    Raises:
        UsageError: a file of features is not there any more, or is another one now.
        DataError: a file of features is damaged.
    """
    known: dict[str, Any] = about["sources"]
    found = {each.name: each for each in open_sources(about.get("features") or list(known), model, ())}
    for name, told in known.items():
        if name not in found or told.get("of", {}).get("origin", found[name].origin) != found[name].origin:
            raise UsageError(f"the features {name} are not to be had any more as the exemplars had them")
    return [Source(name, _layers(found[name], told["layers"]), found[name].origin) for name, told in known.items()]


def _layers(source: Source, layers: Mapping[str, int]) -> dict[int, str | actkit.Feature]:
    return {layer: at for layer, at in source.by_layer.items() if str(layer) in layers}
