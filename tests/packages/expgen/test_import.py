"""Files in the original's layout, written by hand, become a run that reads like a native one with the same content."""

import json
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from expgen.describe import describe
from expgen.imported import statistics
from expgen.imported.layout import Layout
from expgen.importing import import_
from expgen.options import DescribeOptions, ImportOptions, ScoreOptions
from expgen.score import score
from expgen.store import Excerpt, Exemplars, Feature
from polars.testing import assert_frame_equal
from runkit.errors import DataError, UsageError
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from tests.packages.expgen import made

# The same words in every split, so that `made` numbers them alike in all.
_ALL = "the red car a blue bird sings and again"
TEXTS = {
    "train": [_ALL, "the red and red again", "the bird", "the blue bird sings a blue and red car again", "the"],
    "valid": ["the bird again and again", "the blue sings", _ALL, "the red"],
    "test": ["the car and car", f"{_ALL} red blue"],
}
K, PAD = 4, 5
FEATURES = [made.on("red"), made.on("blue", negative=True), made.on("the", "again", strength=0.7)]
KNOWN = sorted(made.words(_ALL))


def tokenizer(folder: Path) -> Path:
    """Its vocabulary is the words of `made`, under their numbers."""
    vocabulary = {word: i for i, word in enumerate(KNOWN)} | {"[?]": len(KNOWN)}
    bare = Tokenizer(models.WordLevel(vocabulary, unk_token="[?]"))
    bare.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="[?]").save_pretrained(folder)
    return folder


def original(folder: Path, *, layers: int = 1, splits: tuple[str, ...] = tuple(TEXTS), random: bool = True) -> Path:
    """The same content in the original's layout."""
    for split, layer in product(splits, range(layers)):
        place = folder / split / f"layer{layer}"
        _pole(place, "max", split, 1, K)
        _pole(place, "min", split, -1, K)
        if random:
            for pole in ("max", "min"):
                _pole(folder / f"random_{split}" / f"layer{layer}", pole, split, 0, len(TEXTS[split]))
    datasets = [{"hf_dataset_id": "Zoo/fineweb"}, {"hf_dataset_id": "abc/chats"}]
    (folder / "exemplar_config.json").write_text(json.dumps({"hf_dataset_configs": datasets}))
    return folder


def _pole(place: Path, name: str, split: str, sign: int, k: int) -> None:
    """`sign` 0: all sequences in their order, which are the random ones of `made`."""
    texts, width = TEXTS[split], max(len(made.words(text)) for split in TEXTS for text in TEXTS[split])
    acts = np.full((len(FEATURES), k, width), np.inf if name == "min" else -np.inf, np.float32)
    ids = np.full(acts.shape, PAD, np.int32)
    datasets = np.zeros(acts.shape[:2], np.int32)
    peaks = np.zeros((len(FEATURES), len(texts)), np.float32)
    for unit, fires in enumerate(FEATURES):
        found = [np.array(fires(made.words(text))) for text in texts]
        best = [float((sign * x).max()) for x in found]
        order = sorted(range(len(texts)), key=lambda i: (-best[i], i)) if sign else range(len(texts))
        peaks[unit] = [sign * best[i] for i in order]
        for rank, number in enumerate(list(order)[:k]):
            acts[unit, rank, width - len(found[number]) :] = found[number]
            ids[unit, rank, width - len(found[number]) :] = [KNOWN.index(word) for word in made.words(texts[number])]
            datasets[unit, rank] = number % 2
    place.mkdir(parents=True, exist_ok=True)
    arrays = {"seq_acts": acts, "seq_ids": ids, "dataset_ids": datasets} | ({"acts": peaks} if sign else {})
    for what, array in arrays.items():
        np.save(place / f"{name}_{what}.npy", array)


def imported(workplace: Path, name: str = "imported", **options: Any) -> Exemplars:
    if not (workplace / "tokenizer").is_dir():
        tokenizer(workplace / "tokenizer")
    given: dict[str, Any] = {
        "folder": str(workplace / "original"),
        "tokenizer": str(workplace / "tokenizer"),
        "model_name": "made",
    }
    return Exemplars.open(str(import_(ImportOptions(**given | options, out=workplace / name))))


def same(ours: list[Excerpt], theirs: list[Excerpt]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.split, a.rank, a.peak, a.text.text) == (b.split, b.rank, b.peak, b.text.text)
        np.testing.assert_array_equal(a.text.ids, b.text.ids)
        np.testing.assert_array_equal(a.text.spans, b.text.spans)
        np.testing.assert_allclose(a.activations, b.activations, rtol=1e-6)


def test_it_reads_like_a_native_run(workplace: Path):
    original(workplace / "original")
    theirs = Exemplars.open(str(made.store(workplace / "native", TEXTS, FEATURES, k=K)))
    ours = imported(workplace)
    assert ours.names() == theirs.names()
    for split, neuron, polarity in product(TEXTS, range(len(FEATURES)), "+-"):
        feature = Feature("made", "mlp_post", 0, neuron, polarity)
        assert ours.excerpts(feature, split)
        same(ours.excerpts(feature, split), theirs.excerpts(feature, split))
        same(ours.random(feature, split), theirs.random(feature, split))
    exact = ["model", "source", "layer", "neuron", "polarity", "alive"]
    assert ours.features.select(exact).equals(theirs.features.select(exact))
    # The random sequences here are all of them, so what is an estimate otherwise is exact too.
    for name in ("low", "high", "peak", "mean", "std", "density"):
        a, b = (frame[name].to_numpy() for frame in (ours.features, theirs.features))
        np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=1e-5, atol=1e-7, err_msg=name)
    tokens = [FEATURES[0](made.words(text)) for text in TEXTS["train"]] * 2
    assert ours.features["q90"][0] == pytest.approx(np.quantile(np.concatenate(tokens), 0.9))
    for split, texts in TEXTS.items():
        rows = ours.sequences.filter(split=split)
        assert sorted(rows["text"]) == sorted(texts)
        assert dict(rows.select("text", "source").rows()) == {
            text: ("abc/chats", "Zoo/fineweb")[number % 2] for number, text in enumerate(texts)
        }
    assert ours.sequences["document"].is_unique().all()


def test_descriptions_and_scores_are_those_of_a_native_run(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    more = {split: [f"the {' '.join(rng.choice(_ALL.split()[1:], 7))}" for _ in range(15)] for split in TEXTS}
    for split, texts in more.items():
        monkeypatch.setitem(TEXTS, split, [_ALL, *texts])
    original(workplace / "original")
    made.store(workplace / "native", TEXTS, FEATURES, k=K)
    imported(workplace)
    found: list[list[pl.DataFrame]] = []
    for name in ("native", "imported"):
        given: dict[str, Any] = {"exemplars": str(workplace / name)}
        said = describe(DescribeOptions(**given, out=workplace / f"{name}-described"))
        scored = score(ScoreOptions(**given, descriptions=str(said), out=workplace / f"{name}-scored"))
        assert said is not None
        assert scored is not None
        places = said / "tables/descriptions.parquet", scored / "tables/scores.parquet"
        found.append([pl.read_parquet(place) for place in places])
    for theirs, ours in zip(*found, strict=True):
        assert_frame_equal(ours, theirs)
    assert (found[0][1]["value"] > 0.99).any()


def test_a_split_that_is_not_there_is_empty_and_said(workplace: Path, capsys: pytest.CaptureFixture[str]):
    original(workplace / "original", splits=("train",), random=False)
    ours = imported(workplace)
    said = capsys.readouterr().err
    assert "no split valid nor test" in said
    assert "no random sequences for train" in said
    assert "far too high" in said
    feature = Feature("made", "mlp_post", 0, 0, "+")
    assert ours.excerpts(feature, "train")
    assert ours.excerpts(feature, "valid") == ours.random(feature, "valid") == ours.random(feature, "train") == []
    assert ours.sequences["split"].unique().to_list() == ["train"]
    assert ours.features["mean"].is_finite().all()


@pytest.mark.usefixtures("drawn")
def test_an_interrupted_import_ends_with_the_same_bytes(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    original(workplace / "original", layers=3)
    whole = imported(workplace, "whole").folder
    features = statistics.features
    for fails_at in (1, 2):

        def stop(layout: Layout, layer: int, model: str, fails_at: int = fails_at) -> pl.DataFrame:
            if layer == fails_at:
                raise KeyboardInterrupt
            return features(layout, layer, model)

        monkeypatch.setattr(statistics, "features", stop)
        with pytest.raises(KeyboardInterrupt):
            imported(workplace, "broken")
    monkeypatch.setattr(statistics, "features", features)
    broken = imported(workplace, "broken").folder
    names = [
        p.relative_to(whole) for place in ("exemplars", "tables") for p in (whole / place).rglob("*") if p.is_file()
    ]
    assert len(names) > 20
    for name in [*names, Path("about.json")]:
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name


def test_layers_are_chosen(workplace: Path):
    original(workplace / "original", layers=3)
    assert imported(workplace, layers=(1,)).names() == ["mlp_post.1"]
    with pytest.raises(UsageError, match=r"--layers 7: .*train has layers 0, 1, 2"):
        imported(workplace, "other", layers=(7,))


def _edit(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(path, change(np.load(path)))


def _set(at: tuple[int, ...], value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(x: np.ndarray) -> np.ndarray:
        x[at] = value
        return x

    return change


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("valid/layer0/max_seq_acts.npy", lambda x: x[:, :3], r"expected shape \[3, 4, 11\], found \[3, 3, 11\]"),
        ("train/layer0/min_seq_ids.npy", lambda x: x[..., :7], r"expected shape \[3, 4, 11\], found \[3, 4, 7\]"),
        ("train/layer0/max_seq_ids.npy", lambda x: x.astype(np.float32), "expected whole numbers, found float32"),
        (
            "train/layer0/max_seq_ids.npy",
            _set((1, 0, 10), 10),
            "neuron 1, sequence 0, token 10 is 10, and the tokenizer",
        ),
        ("train/layer0/max_seq_acts.npy", _set((2, 1, 10), np.nan), "neuron 2, sequence 1, token 10 is NaN"),
        ("train/layer0/max_seq_acts.npy", _set((0, 0, 9), -np.inf), "infinite between"),
        ("train/layer0/min_acts.npy", _set((0, 0), -9.0), "neuron 0 has -9 at rank 0"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(
    workplace: Path, file: str, change: Callable[[np.ndarray], np.ndarray], says: str
):
    original(workplace / "original")
    _edit(workplace / "original" / file, change)
    with pytest.raises(DataError, match=says) as caught:
        imported(workplace)
    assert str(Path(file).with_suffix("")) in str(caught.value)


def test_missing_and_broken_files_are_named(workplace: Path):
    place = original(workplace / "original")
    path = place / "test/layer0/min_dataset_ids.npy"
    path.unlink()
    with pytest.raises(DataError, match=r"min_dataset_ids\.npy is missing"):
        imported(workplace)
    path.write_bytes(b"no array")
    with pytest.raises(DataError, match=r"min_dataset_ids\.npy cannot be read as a NumPy array"):
        imported(workplace, "second")
    shutil.rmtree(place / "train")
    with pytest.raises(UsageError, match="no folder train/"):
        imported(workplace, "third")
    with pytest.raises(UsageError, match="--tokenizer"):
        imported(workplace, "fourth", folder=str(original(workplace / "whole")), tokenizer=str(place))
