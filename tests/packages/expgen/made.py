"""Runs of `exemplars` made by hand: every word is a token, and what fires where is a function of the words."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import runkit
import torch
from actkit import window_start
from expgen import tables
from expgen.options import ExemplarsOptions
from expgen.store import KIND
from safetensors.torch import save_file

Fires = Callable[[list[str]], Sequence[float]]
"""From a sequence's words to the feature's activation at each."""
_WORD = re.compile(r"\s*\w+|\s*[^\w\s]")


def on(*words: str, strength: float = 2.0, negative: bool = False) -> Fires:
    """Fires at these words, and weakly, now positive and now negative, at all others."""
    sign = -1 if negative else 1

    def fires(given: list[str]) -> list[float]:
        rest = [0.01 * ((len(word) * 7 + at) % 5 - 2) for at, word in enumerate(given)]
        return [sign * strength if word.strip() in words else weak for word, weak in zip(given, rest, strict=True)]

    return fires


def store(
    folder: Path,
    texts: dict[str, list[str]],
    features: Sequence[Fires],
    *,
    model: str = "made",
    source: str = "mlp_post",
    layer: int = 0,
    k: int = 5,
    window: int = 64,
) -> Path:
    """A finished run: `texts` by split; feature i is neuron i of one layer. All sequences count as the random ones."""
    options = ExemplarsOptions(model=model, data=("made",), out=folder, k=k, window=window)
    with runkit.stage("expgen.exemplars", options) as run:
        for split in tables.SPLITS:
            _write(folder / "exemplars" / split, texts[split], features, source, layer, k, window)
        run.artifact("exemplars")
        about = {"kind": KIND, "model": model, "revision": None, "identity": None, "tokenizer": None, "seq_len": 96,
                 "k": k, "window": window, "per_document": 1,
                 "sources": {source: {"layers": {str(layer): len(features)}}}}  # fmt: skip
        (folder / "about.json").write_bytes(orjson.dumps(about))
        run.artifact("about.json")
        run.table("sequences", _sequences(texts), tables.Sequences)
        run.table("features", _features(texts["train"], features, model, source, layer), tables.Features)
        run.summary({"features": len(features)})
    return folder


def spans(text: str) -> list[tuple[int, int]]:
    """Each token's characters."""
    return [match.span() for match in _WORD.finditer(text)]


def words(text: str) -> list[str]:
    """The tokens, with the space before them."""
    return [text[a:b] for a, b in spans(text)]


def _write(place: Path, texts: list[str], features, source: str, layer: int, k: int, window: int) -> None:
    place.mkdir(parents=True, exist_ok=True)
    known = sorted({word for text in texts for word in words(text)})
    rows = [words(text) for text in texts]
    first = np.cumsum([0, *map(len, rows)])
    at = np.array([span for text in texts for span in spans(text)])
    ids = torch.tensor([known.index(word) for row in rows for word in row], dtype=torch.int32)
    text = {"ids": ids, "starts": torch.tensor(at[:, 0]).int(), "ends": torch.tensor(at[:, 1]).int(),
            "valid": torch.ones(len(ids), dtype=torch.uint8), "first": torch.tensor(first)}  # fmt: skip
    save_file({name: x.contiguous() for name, x in text.items()}, place / "text.safetensors")
    x = np.array([np.concatenate([fires(row) for row in rows]) for fires in features]).T.astype(np.float32)
    of_row = torch.tensor(np.repeat(np.arange(len(rows)), np.diff(first)))
    position = torch.cat([torch.arange(len(row)) for row in rows]).int()
    keep = {"values": torch.tensor(x).contiguous(), "rows": of_row, "positions": position}
    save_file(keep, place / f"{source}.{layer}.keep-00000.safetensors")
    save_file(_top(x, first, k, window), place / f"result-{source}.{layer}.safetensors")


def _top(x: np.ndarray, first: np.ndarray, k: int, window: int) -> dict[str, torch.Tensor]:
    count = x.shape[1]
    found = {
        "toprows.values": torch.full((2, count, k), torch.nan), "toprows.rows": torch.full((2, count, k), -1),
        "toprows.positions": torch.full((2, count, k), -1).int(),
        "toprows.around": torch.full((2, count, k, window), torch.nan),
    }  # fmt: skip
    for pole, sign in enumerate((1, -1)):
        for unit in range(count):
            rows = [x[a:b, unit] for a, b in pairwise(first)]
            order = sorted((-(sign * row).max(), number) for number, row in enumerate(rows))[:k]
            for rank, (value, number) in enumerate(order):
                row = rows[number]
                position = int((sign * row).argmax())
                start = int(window_start(torch.tensor(position), torch.tensor(len(row)), window))
                part = row[start : start + window]
                found["toprows.values"][pole, unit, rank] = float(-sign * value)
                found["toprows.rows"][pole, unit, rank] = number
                found["toprows.positions"][pole, unit, rank] = position
                found["toprows.around"][pole, unit, rank, : len(part)] = torch.tensor(part)
    return found


def _sequences(texts: dict[str, list[str]]) -> pl.DataFrame:
    rows = [(split, number, text) for split in tables.SPLITS for number, text in enumerate(texts[split])]
    return pl.DataFrame(
        [
            {"split": split, "sequence": number, "source": "made", "document": at, "tokens": len(words(text)),
             "text": text}
            for at, (split, number, text) in enumerate(rows)
        ]
    )  # fmt: skip


def _features(texts: list[str], features, model: str, source: str, layer: int) -> pl.DataFrame:
    rows = []
    for neuron, fires in enumerate(features):
        x = np.concatenate([fires(words(text)) for text in texts])
        quantiles = dict(zip(("q001", "q01", "q10", "q50", "q90", "q99", "q999"),
                             np.quantile(x, tables.QUANTILES).tolist(), strict=True))  # fmt: skip
        for polarity, sign in (("+", 1), ("-", -1)):
            peak = float((sign * x).max())
            alive = peak > 0
            rows.append(
                {"model": model, "layer": layer, "neuron": neuron, "polarity": polarity, "source": source,
                 "mean": float(x.mean()), "std": float(x.std()), "low": float(x.min()), "high": float(x.max()),
                 **quantiles, "peak": sign * peak if alive else None,
                 "density": float((sign * x > 0.1 * peak).mean()) if alive else 0.0, "alive": alive}
            )  # fmt: skip
    return pl.DataFrame(rows, schema=tables.columns(tables.Features))
