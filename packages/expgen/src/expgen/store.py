"""A finished run of `exemplars` or `import`, read feature by feature. Nothing here needs the model or a tokenizer.

On disk, per split, in `exemplars/SPLIT/`:

- `text.safetensors`: of all tokens, sequence after sequence, `ids`, `starts` and `ends` (characters of the sequence's
  text) and `valid` (may be a peak); `first` [sequences + 1]: where each sequence begins;
- `result-SOURCE.LAYER.safetensors`: `toprows.values`, `.rows`, `.positions` [2, F, k] and `.around` [2, F, k, window],
  "+" first (see `actkit.TopRows`); of native runs `moments.*` too;
- `SOURCE.LAYER.keep-*.safetensors`: `values` [tokens, F] of whole random sequences, with `rows` and `positions`;
  or `random-SOURCE.LAYER.safetensors`: `values` [2, F, R, T] and `rows` [2, F, R], where each feature has its own.
"""

import re
from collections.abc import Iterable
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl
from actkit import window_start
from jaxtyping import Bool, Float, Int
from runkit import manifest, refs, runs
from runkit.errors import UsageError, nearest
from runkit.options import flag
from safetensors import safe_open
from torch import Tensor, tensor

from expgen import tables

STAGES = ("expgen.exemplars", "expgen.import")
KIND = "expgen exemplars 1"
SIGNS = {"+": 1, "-": -1}
_NAME = re.compile(r"(?P<source>.+)\.(?P<layer>\d+)\.(?P<neuron>\d+)(?P<polarity>[+-])")


class Feature(NamedTuple):
    """The key of one polarity of one feature; see `tables.FeatureKey`. `str()`: such as mlp_post.3.17+."""

    model: str
    source: str
    layer: int
    neuron: int
    polarity: str

    def __str__(self) -> str:
        return f"{self.source}.{self.layer}.{self.neuron}{self.polarity}"

    @property
    def sign(self) -> int:
        """1 or -1."""
        return SIGNS[self.polarity]

    @classmethod
    def parse(cls, text: str, model: str) -> "Feature":
        """From its name. Raises UsageError."""
        match = _NAME.fullmatch(text)
        if match is None:
            raise UsageError(f"{text!r} is no feature: write SOURCE.LAYER.NEURON and + or -, such as mlp_post.3.17+")
        return cls(model, match["source"], int(match["layer"]), int(match["neuron"]), match["polarity"])


class Text(NamedTuple):
    """A sequence, or a stretch of one. `spans`: each token's characters in `text` (empty for BOS and the like)."""

    text: str
    ids: Int[np.ndarray, " T"]
    spans: Int[np.ndarray, "T 2"]
    valid: Bool[np.ndarray, " T"]

    def cut(self, start: int, end: int) -> "Text":
        """Tokens `start` to `end` (excluded), with the text from the first one's start to the last one's end."""
        spans = self.spans[start:end]
        low, high = (int(spans[:, 0].min()), int(spans[:, 1].max())) if len(spans) else (0, 0)
        return Text(self.text[low:high], self.ids[start:end], spans - low, self.valid[start:end])


class Excerpt(NamedTuple):
    """What a feature did over a stretch of text. `activations`: times the polarity's sign, so that large is strong.

    `rank`: 0 for the strongest of its split; -1 for a random one. `peak`: the peak's token, or -1 for a random one.
    """

    split: str
    rank: int
    sequence: int
    text: Text
    activations: Float[np.ndarray, " T"]
    peak: int


class Block(NamedTuple):
    """All features of one source and layer in one split."""

    values: Float[Tensor, "2 F k"]
    rows: Int[Tensor, "2 F k"]
    positions: Int[Tensor, "2 F k"]
    around: Float[Tensor, "2 F k W"]


class Exemplars:
    """A finished run. Every file is held against the run's manifest as it is first read.

    `about`: what is said in about.json: model, revision, identity of the weights, tokenizer, sources and their layers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about: dict[str, Any] = orjson.loads(_trusted(folder / "about.json").read_bytes())
        self._block = lru_cache(maxsize=4)(self._read_block)
        self._drawn = lru_cache(maxsize=4)(self._read_drawn)
        self._tokens = lru_cache(maxsize=None)(self._read_tokens)
        self._sequence = lru_cache(maxsize=1 << 13)(self._read_sequence)

    @classmethod
    def open(cls, text: str, option: str = "exemplars") -> "Exemplars":
        """The run that an option names.

        Raises:
            UsageError: there is none, or it is another stage's run.
            DataError: a file of it is damaged.
        """
        place = refs.resolve(text, stage=STAGES[0])
        found = manifest.Manifest.read(place) if place.is_dir() else None
        if found is None or found.stage not in STAGES:
            told = "no finished run" if found is None else f"a run of {found.stage}"
            raise UsageError(f"{flag(option)} {text} is {told}: name the folder of a run of expgen exemplars or import")
        return cls(place)

    @property
    def model(self) -> str:
        """Name of the model the activations are of."""
        return self.about["model"]

    @cached_property
    def features(self) -> pl.DataFrame:
        """The table `features`."""
        return runs.table(self.folder, "features", tables.Features)

    @cached_property
    def sequences(self) -> pl.DataFrame:
        """The table `sequences`."""
        return runs.table(self.folder, "sequences", tables.Sequences)

    def names(self) -> list[str]:
        """Every SOURCE.LAYER there is."""
        return [f"{source}.{layer}" for source, each in self.about["sources"].items() for layer in each["layers"]]

    def feature(self, text: str) -> Feature:
        """A feature by name. Raises UsageError for one this run has not."""
        found = Feature.parse(text, self.model)
        name = f"{found.source}.{found.layer}"
        if name not in self.names():
            raise UsageError(f"{text}: this run has no {name}; {nearest(name, self.names())}")
        count = self.about["sources"][found.source]["layers"][str(found.layer)]
        if found.neuron >= count:
            raise UsageError(f"{text}: {name} has features 0 to {count - 1}")
        return found

    def sequence(self, split: str, number: int) -> Text:
        """A whole sequence."""
        return self._sequence(split, number)

    def _read_sequence(self, split: str, number: int) -> Text:
        tokens = self._tokens(split)
        at = slice(int(tokens["first"][number]), int(tokens["first"][number + 1]))
        spans = np.stack([tokens["starts"][at], tokens["ends"][at]], axis=1)
        return Text(self._texts[split][number], tokens["ids"][at], spans, tokens["valid"][at].astype(bool))

    def excerpts(self, feature: Feature, split: str, ranks: Iterable[int] | None = None) -> list[Excerpt]:
        """The sequences a feature is strongest in, around their peaks, strongest first; only where it fires so."""
        block = self._block(f"{feature.source}.{feature.layer}", split)
        values, rows, positions, around = (x[int(feature.sign < 0), feature.neuron] for x in block)
        fires = (values * feature.sign > 0).tolist()
        wanted = [rank for rank in (range(len(fires)) if ranks is None else ranks) if rank < len(fires) and fires[rank]]
        if not wanted:
            return []
        numbers, peaks = rows[wanted].tolist(), positions[wanted]
        texts = [self.sequence(split, number) for number in numbers]
        starts = window_start(peaks, tensor([len(each.ids) for each in texts]), around.shape[1])
        near = around[wanted].float().numpy() * feature.sign
        found = zip(wanted, numbers, texts, peaks.tolist(), starts.tolist(), near, strict=True)
        return [_excerpt(split, *each) for each in found]

    def random(self, feature: Feature, split: str, limit: int | None = None) -> list[Excerpt]:
        """Sequences drawn at random, whole."""
        drawn = self._drawn(f"{feature.source}.{feature.layer}", split)
        found: list[Excerpt] = []
        for number, values in drawn.of(feature)[:limit]:
            text = self.sequence(split, number)
            found.append(Excerpt(split, -1, number, text, values[: len(text.ids)] * feature.sign, -1))
        return found

    def block(self, name: str, split: str) -> Block:
        """All features of SOURCE.LAYER at once."""
        return self._block(name, split)

    def drawn(self, name: str, split: str) -> Float[np.ndarray, "tokens F"]:
        """All features of SOURCE.LAYER at the valid tokens of the random sequences (where all share these)."""
        drawn = self._drawn(name, split)
        if not isinstance(drawn, _Shared):
            raise UsageError(f"{self.folder}: its random sequences differ from feature to feature")
        return np.concatenate([x[self.sequence(split, int(number)).valid] for number, x in drawn.parts])

    @cached_property
    def _texts(self) -> dict[str, list[str]]:
        return {split: self.sequences.filter(split=split).sort("sequence")["text"].to_list() for split in tables.SPLITS}

    def _read_tokens(self, split: str) -> dict[str, np.ndarray]:
        return {name: x.numpy() for name, x in self._file(split, "text.safetensors").items()}

    def _read_block(self, name: str, split: str) -> Block:
        found = self._file(split, f"result-{name}.safetensors", "toprows.")
        return Block(*(found[f"toprows.{each}"] for each in Block._fields))

    def _read_drawn(self, name: str, split: str) -> "_Shared | _Own":
        own = f"random-{name}.safetensors"
        if (self._folder(split) / own).is_file():
            found = self._file(split, own)
            return _Own(found["rows"].numpy(), found["values"].float().numpy())
        parts = [
            self._file(split, path.name) for path in sorted(self._folder(split).glob(f"{name}.keep-*.safetensors"))
        ]
        if not parts:
            return _Shared([])
        rows = np.concatenate([part["rows"].numpy() for part in parts])
        values = np.concatenate([part["values"].float().numpy() for part in parts])
        edges = np.flatnonzero(np.diff(rows, prepend=-1, append=-1))
        return _Shared([(int(rows[a]), values[a:b]) for a, b in pairwise(edges)])

    def _folder(self, split: str) -> Path:
        return self.folder / "exemplars" / split

    def _file(self, split: str, name: str, prefix: str = "") -> dict[str, Tensor]:
        with safe_open(_trusted(self._folder(split) / name), framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118


def _excerpt(split: str, rank: int, number: int, whole: Text, at: int, start: int, around: np.ndarray) -> Excerpt:
    """The window around a peak at token `at`; where the text is shorter, so is it."""
    end = min(start + len(around), len(whole.ids))
    return Excerpt(split, rank, number, whole.cut(start, end), around[: end - start], at - start)


class _Shared(NamedTuple):
    """Random sequences that all features share: their numbers, and activations [T, F]."""

    parts: list[tuple[int, np.ndarray]]

    def of(self, feature: Feature) -> list[tuple[int, np.ndarray]]:
        return [(number, values[:, feature.neuron]) for number, values in self.parts]


class _Own(NamedTuple):
    """Each feature's own random sequences."""

    rows: Int[np.ndarray, "2 F R"]
    values: Float[np.ndarray, "2 F R T"]

    def of(self, feature: Feature) -> list[tuple[int, np.ndarray]]:
        at = int(feature.sign < 0), feature.neuron
        return [(int(row), values) for row, values in zip(self.rows[at], self.values[at], strict=True) if row >= 0]


def _trusted(path: Path) -> Path:
    manifest.trust(path)
    return path


def chosen(exemplars: Exemplars, options: Any) -> list[Feature]:
    """The features that `ChoiceOptions` mean, in the order of the table; those that never fire so included.

    Raises:
        UsageError: there are none of one that is named; says what there is.
    """
    frame = exemplars.features.select(tables.FEATURE_KEY)
    for column, wanted in (("source", options.sources), ("layer", options.layers), ("neuron", options.neurons)):
        if lost := set(wanted) - set(frame[column].unique()):
            known = ", ".join(exemplars.names())
            raise UsageError(f"--{column}s {min(lost)}: no such features: {exemplars.folder} has {known}")
        frame = frame.filter(pl.col(column).is_in(list(wanted))) if wanted else frame
    frame = frame if options.polarity == "both" else frame.filter(polarity=options.polarity)
    return [Feature(*row) for row in drawn(frame, options.limit, options.seed).iter_rows()]


def drawn(frame: pl.DataFrame, limit: int | None, seed: int) -> pl.DataFrame:
    """At most `limit` rows, drawn at random, in their order."""
    if limit is None or limit >= len(frame):
        return frame
    kept = np.sort(np.random.default_rng(seed).choice(len(frame), limit, replace=False))
    return frame[kept.tolist()]
