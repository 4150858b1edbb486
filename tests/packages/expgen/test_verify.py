"""Exemplars are what a plain forward pass gives; where they are not, or are another model's, that is said."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import actkit
import numpy as np
import orjson
import polars as pl
import pytest
import torch
from expgen import tables
from expgen.exemplars import exemplars
from expgen.options import ExemplarsOptions, VerifyOptions
from expgen.verify import verify
from runkit.errors import DataError, UsageError
from runkit.manifest import Entry, Manifest
from runkit.tables import read
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tests.packages.expgen.corpora import bytewise, rows

TEXTS = [f"the {a} {b} sat on mat {n}" for n, (a, b) in enumerate([("cat", "漢字"), ("dog", "ran")] * 10)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[Path]:
    """A model, its exemplars in `run`, and the same with one window changed in `wrong`."""
    folder = tmp_path_factory.mktemp("verify")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", store)
        _model(folder / "tiny", seed=1)
        _model(folder / "other", seed=2)
        data = rows(folder / "a.jsonl", TEXTS)
        asked: dict[str, Any] = {"features": ("mlp_post", "heads"), "k": 4, "window": 8, "random": 4, "seq_len": 24}
        exemplars(ExemplarsOptions(model="tiny", data=(data,), out=folder / "run", device="cpu", **asked))
        yield folder


def _model(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    tokenizer = bytewise()
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=12, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64)  # fmt: skip
    model = LlamaForCausalLM(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def changed(run: Path, to: Path, **about: Any) -> Path:
    """The run with other things said of it, or (without) one stored window changed, and a manifest that agrees."""
    shutil.copytree(run, to)
    found = Manifest.read(to)
    assert found is not None
    if about:
        name = "about.json"
        (to / name).write_bytes(orjson.dumps({**orjson.loads((to / name).read_bytes()), **about}))
    else:
        name = "exemplars/valid/result-mlp_post.1.safetensors"
        tensors = load_file(to / name)
        tensors["toprows.around"][1, 7, 2, 3] += 0.25
        save_file(tensors, to / name)
    listed = {**found.files, name: Entry.of(to / name)}
    Manifest(found.stage, found.identity, found.command, listed).write(to)
    return to


def asked(place: Path, run: str = "run", **more: Any) -> VerifyOptions:
    return VerifyOptions(**{"model": "tiny", "exemplars": run, "device": "cpu", "neurons": 50, **more})


def test_what_is_found_is_what_a_plain_forward_gives(place: Path):
    folder = verify(asked(place))
    found = read(folder / "tables/differences.parquet", tables.Differences)
    assert found["difference"].to_numpy().max() < 1e-5
    assert found.n_unique(["source", "layer", "neuron"]) == 2 * (12 + 2)
    assert set(found["split"]) == set(tables.SPLITS)
    model, tokenizer = AutoModelForCausalLM.from_pretrained("tiny"), AutoTokenizer.from_pretrained("tiny")
    seen: dict[int, Any] = {}
    for layer, block in enumerate(model.model.layers):
        block.mlp.down_proj.register_forward_pre_hook(lambda _, args, at=layer: seen.update({at: args[0][0]}))
    neurons = found.filter(source="mlp_post")
    texts = pl.read_parquet("run/tables/sequences.parquet").select("split", "sequence", "text")
    for (_, _, words), part in neurons.join(texts, on=["split", "sequence"]).group_by("split", "sequence", "text"):
        with torch.no_grad():
            model(**tokenizer(words, return_tensors="pt"))
        for row in part.iter_rows(named=True):
            x = seen[row["layer"]][2:24, row["neuron"]].numpy()  # neither BOS nor the first word may be a peak
            peak = x.max() if row["polarity"] == "+" else x.min()
            np.testing.assert_allclose([row["found"], row["stored"]], peak, atol=1e-5)


@pytest.fixture(scope="module")
def wrong(place: Path) -> Path:
    return changed(place / "run", place / "wrong")


def test_a_changed_activation_is_found_and_named_each_time(wrong: Path, capfd: pytest.CaptureFixture[str]):
    options = asked(wrong.parent, "wrong", out=wrong.parent / "found")
    for _ in range(2):  # the second time the finished run is reused
        with pytest.raises(
            DataError, match=r"1 of \d+ exemplars .* mlp_post\.1\.7-, valid, rank 2, sequence \d+: .*2\.5"
        ):
            verify(options)
    found = read(options.out / "tables/differences.parquet", tables.Differences)  # type: ignore[operator]
    over = found.filter(pl.col("difference") > 1e-4)
    stored = over["stored"].abs()[0]
    assert over["difference"][0] == pytest.approx(0.25 / max(1, stored), rel=1e-3)
    assert "differ by more than" in capfd.readouterr().out
    verify(asked(wrong.parent, "wrong", tolerance=0.3))


def test_a_flipped_byte_is_named_before_anything_is_run(place: Path):
    shutil.copytree(place / "run", place / "flipped")
    path = place / "flipped/exemplars/test/result-heads.0.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"exemplars/test/result-heads\.0\.safetensors"):
        verify(asked(place, "flipped"))


@pytest.mark.parametrize(
    ("about", "more", "says"),
    [
        ({}, {"model": "other"}, r"--model other is not the model described, tiny:\n  weights: "),
        ({}, {"dtype": "float64"}, "--dtype float32 is what it had there"),
        ({"features": ["mlp_post"]}, {}, "heads, which are not to be had"),
    ],
)
def test_exemplars_of_something_else_are_refused(place: Path, about: Any, more: Any, says: str):
    run = changed(place / "run", place / f"about-{len(list(place.iterdir()))}", **about) if about else place / "run"
    with pytest.raises(UsageError, match=says):
        verify(asked(place, str(run), **more))


def test_imported_exemplars_are_checked_with_a_warning(place: Path, capfd: pytest.CaptureFixture[str]):
    changed(place / "run", place / "imported", identity=None, model="meta/Tiny")
    verify(asked(place, "imported"))
    assert "not with which weights" in capfd.readouterr().err


def test_a_verify_that_was_stopped_goes_on_with_the_same_result(place: Path, monkeypatch: pytest.MonkeyPatch):
    whole = verify(asked(place, batch_size=3, out=place / "whole"))
    calls: list[int] = []
    run = actkit.Model.run

    def stops(self: Any, *args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(self, *args, **more)

    monkeypatch.setattr(actkit.Model, "run", stops)
    with pytest.raises(KeyboardInterrupt):
        verify(asked(place, batch_size=3, out=place / "halves"))
    halves = verify(asked(place, batch_size=3, out=place / "halves"))
    assert len(calls) == 3 + 7 - 2  # 20 sequences by threes; two batches were kept
    name = "tables/differences.parquet"
    assert (halves / name).read_bytes() == (whole / name).read_bytes()
