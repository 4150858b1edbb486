"""The stage against a brute-force search over plain Hugging Face activations, and what it says before and instead."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from expgen import tables
from expgen.exemplars import exemplars
from expgen.options import ExemplarsOptions
from expgen.store import Exemplars, Feature
from runkit.errors import UsageError
from specimens import families
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.teams import as_a_team

SENTENCE = "Tom has red pens and finds blue cups. How many now? The answer is 7, no 12."


def _texts(count: int = 60) -> list[str]:
    rng = np.random.default_rng(2)
    texts = [" ".join(rng.choice(SENTENCE.split(), rng.integers(3, 25))) for _ in range(count)]
    return [*texts, texts[3], texts[3]]  # repeated: kept once


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("given")
    data = folder / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in _texts()))
    return families.save("llama", folder / "tiny"), data


def _options(given: tuple[Path, Path], out: Path, **more: object) -> ExemplarsOptions:
    model, data = given
    return ExemplarsOptions.model_validate(
        {"model": str(model), "data": (str(data),), "out": out, "k": 4, "random": 5, "seq_len": 30, "batch_size": 8,
         "device": "cpu", **more}
    )  # fmt: skip


def _files(folder: Path) -> dict[str, bytes]:
    kept = [*folder.glob("exemplars/**/*.safetensors"), *folder.glob("tables/*.parquet"), folder / "about.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def run(given: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Exemplars:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        return Exemplars.open(str(exemplars(_options(given, folder / "run"))))


@pytest.fixture(scope="module")
def plain(given: tuple[Path, Path], run: Exemplars) -> dict[str, list[np.ndarray]]:
    """Of each split every sequence's activations at layer 1's down projection, tokenised and run without our code."""
    model = AutoModelForCausalLM.from_pretrained(given[0])
    tokenizer = AutoTokenizer.from_pretrained(given[0])
    seen: list[np.ndarray] = []
    model.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda _, x: seen.append(x[0][0].numpy()))
    found: dict[str, list[np.ndarray]] = {}
    for split in tables.SPLITS:
        for text in run.sequences.filter(split=split).sort("sequence")["text"]:
            with torch.no_grad():
                model(torch.tensor([tokenizer(text)["input_ids"][:30]]))
        found[split], seen[:] = list(seen), []
    return found


def test_exemplars_are_those_of_a_search_by_hand(run: Exemplars, plain: dict[str, list[np.ndarray]]):
    for split, rows in plain.items():
        masks = [run.sequence(split, number).valid for number in range(len(rows))]
        block = run.block("mlp_post.1", split)
        for pole, sign in enumerate((1, -1)):
            peaks = np.stack(
                [np.where(may[:, None], sign * x, -np.inf).max(0) for x, may in zip(rows, masks, strict=True)]
            )
            order = np.argsort(-peaks, axis=0, kind="stable")[:4].T
            best = np.take_along_axis(peaks.T, order, 1)
            np.testing.assert_allclose(block.values[pole].numpy() * sign, best, atol=1e-5)
            gaps = -np.diff(np.take_along_axis(peaks.T, np.argsort(-peaks, axis=0)[:5].T, 1), axis=1)
            clear = (gaps > 1e-5).all(1)
            assert clear.mean() > 0.5
            found = np.take_along_axis(peaks.T, block.rows[pole].numpy(), 1)
            np.testing.assert_allclose(found, best, atol=1e-5)  # also where near ties may stand in another order
            np.testing.assert_array_equal(block.rows[pole].numpy()[clear], order[clear])


def test_an_excerpt_is_what_the_model_did_there(run: Exemplars, plain: dict[str, list[np.ndarray]]):
    for neuron, polarity in ((0, "+"), (7, "-")):
        feature = Feature(run.model, "mlp_post", 1, neuron, polarity)
        for excerpt in run.excerpts(feature, "train"):
            x = plain["train"][excerpt.sequence][:, neuron] * feature.sign
            np.testing.assert_allclose(excerpt.activations, x, atol=1e-5)
            assert excerpt.activations[excerpt.peak] == pytest.approx(
                np.nanmax(np.where(excerpt.text.valid, x, -9)), abs=1e-5
            )
        for excerpt in run.random(feature, "test"):
            np.testing.assert_allclose(
                excerpt.activations, plain["test"][excerpt.sequence][:, neuron] * feature.sign, atol=1e-5
            )
        assert len(run.random(feature, "test")) == 5


def test_statistics_are_numpys(run: Exemplars, plain: dict[str, list[np.ndarray]]):
    rows = [x[run.sequence("train", number).valid] for number, x in enumerate(plain["train"])]
    every = np.concatenate(rows).astype(np.float64)
    told = run.features.filter(layer=1, polarity="+").sort("neuron")
    np.testing.assert_allclose(told["mean"], every.mean(0), atol=1e-6)
    np.testing.assert_allclose(told["std"], every.std(0), atol=1e-6)
    np.testing.assert_allclose(told["low"], every.min(0), atol=1e-5)
    np.testing.assert_allclose(told["high"], every.max(0), atol=1e-5)
    drawn = {excerpt.sequence for excerpt in run.random(Feature(run.model, "mlp_post", 1, 0, "+"), "train")}
    sample = np.concatenate([plain["train"][n][run.sequence("train", n).valid] for n in sorted(drawn)])
    np.testing.assert_allclose(told["q90"], np.quantile(sample, 0.9, axis=0), atol=1e-5)


def test_no_sequence_twice_and_no_document_in_two_splits(run: Exemplars):
    assert run.sequences["text"].is_unique().all()
    splits = run.sequences.group_by("document").agg(splits="split")
    assert splits["splits"].list.n_unique().max() == 1


def test_two_processes_write_the_same_files(given: tuple[Path, Path], processes, tmp_path: Path):
    for size, name in ((1, "alone"), (2, "pair")):
        as_a_team(processes, size, tmp_path, exemplars, _options(given, tmp_path / name))
    assert _files(tmp_path / "pair") == _files(tmp_path / "alone")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"k": 500}, "--k 500: the smallest split has"),
        ({"features": ("mlp_pots",)}, "mlp_post"),
        ({"layers": (9,)}, "layers 0 to"),
        ({"seq_len": 4000}, "4000"),
    ],
)
def test_what_cannot_be_is_said(given: tuple[Path, Path], workplace: Path, more: dict, says: str):
    with pytest.raises(UsageError, match=says):
        exemplars(_options(given, workplace / "run", **more))


def test_a_dry_run_tells_time_memory_and_disk(given: tuple[Path, Path], workplace: Path, capsys):
    assert exemplars(_options(given, workplace / "run", dry_run=True)) is None
    said = capsys.readouterr().out
    assert all(word in said for word in ("tokens in", "memory", "disk", "time: about"))
    assert not (workplace / "run").exists()
