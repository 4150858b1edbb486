"""What `discover` costs, against the original's way of computing and against a plain batched `generate`.

    uv run python benchmarks/discover_speed.py

Three ways over the same prompts of a 32-layer tiny Llama, process time, alternating in one run:

- the original's way (`benchmarks/original.py`): strongest neurons and promoted tokens of one prompt at a time, as JSON;
- ours: the same result, as two Parquet tables (checked to be the same before anything is reported);
- Hugging Face's own batched `generate` of the same tokens, with nothing watched.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import actkit
import numpy as np
import polars as pl
import torch
from cot_neurons import chains, portraits
from cot_neurons.discover import Watch
from cot_neurons.profiles import PROFILES
from cot_neurons.subject import Subject
from original import algorithm_one, algorithm_two
from runkit import tables
from specimens import families

PROMPT_TOKENS, NEW_TOKENS, K = 950, 150, 20
SHAPE = families.Shape(layers=32, d_model=64, d_mlp=172, heads=8, kv_heads=4, vocab=512, context=2048)
PROFILE = PROFILES["reference"].with_(chain_tokens=NEW_TOKENS, k=K)
RESULTS = Path(__file__).parent / "results" / "discover_speed.json"


def main() -> None:
    """Measure, check, print, and write results/discover_speed.json."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    hf = families.tiny_model("llama", SHAPE)
    subject = Subject(actkit.Model(hf, families.tiny_tokenizer(SHAPE.vocab)), "tiny-llama-32")
    prompts = torch.randint(3, 300, (8, PROMPT_TOKENS)).tolist()
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        results = [_against_original(subject, prompts[:1], Path(name)), _against_generate(subject, prompts, Path(name))]
    report = {"threads": torch.get_num_threads(), "torch": torch.__version__, "comparisons": results}
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def _against_original(subject: Subject, prompts: list[list[int]], folder: Path) -> dict[str, object]:
    def original() -> None:
        for number, prompt in enumerate(prompts):
            file = folder / f"cot_all_{number}.json"
            algorithm_one(subject.model.hf, prompt, NEW_TOKENS, K, file)
            algorithm_two(subject.model.hf, subject.model.tokenizer, file, K, folder)

    times = _alternate(original, lambda: ours(subject, prompts, folder), rounds=2)
    _check_same(folder, len(prompts))
    return _report(f"original's way / ours, {len(prompts)} prompt(s)", times)


def _against_generate(subject: Subject, prompts: list[list[int]], folder: Path) -> dict[str, object]:
    batch = subject.model.encode(prompts)

    def generate() -> None:
        subject.model.hf.generate(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=None,
        )

    times = _alternate(lambda: ours(subject, prompts, folder), generate, rounds=7)
    return _report(f"ours / plain generate, batch of {len(prompts)}", times)


def ours(subject: Subject, prompts: list[list[int]], folder: Path) -> None:
    """What the stage does for a batch: watch, tag, write, sum up, read what the neurons promote."""
    layers = range(subject.model.dims.layers)
    items = pl.DataFrame({"row": range(len(prompts)), "prompt_ids": prompts})
    steps, activations = Watch(subject, PROFILE, layers)(items)
    tables.write(folder / "steps.parquet", steps)
    tables.write(folder / "activations.parquet", activations)
    sums = portraits.Portraits(layers, subject.model.dims.d_mlp, steps)
    for piece in chains.pieces(folder / "activations.parquet"):
        sums.add(piece)
    neurons = portraits.with_tokens(sums.table(subject.name), subject.model, PROFILE, K)
    tables.write(folder / "neurons.parquet", neurons)


def _alternate(first: Callable[[], None], second: Callable[[], None], rounds: int) -> list[tuple[float, float]]:
    """Process seconds of both, in turn; one round beforehand is not counted."""
    return [(_seconds(first), _seconds(second)) for _ in range(rounds + 1)][1:]


def _seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _report(what: str, times: list[tuple[float, float]]) -> dict[str, object]:
    ratios = sorted(first / second for first, second in times)
    middle = [float(np.median(each)) for each in zip(*times, strict=True)]
    return {"what": what, "ratio_median": float(np.median(ratios)), "ratio_min": ratios[0], "ratio_max": ratios[-1],
            "process_seconds_median": middle, "rounds": len(times)}  # fmt: skip


def _check_same(folder: Path, prompts: int) -> None:
    """Both found the same: strengths to 1e-4 at every step and layer, and the same promoted tokens but for ties."""
    kept = pl.read_parquet(folder / "activations.parquet").sort("row", "layer", "step", "rank")
    for row in range(prompts):
        found = np.array(json.loads((folder / f"cot_all_{row}.json").read_text())["top_coef_vals"])
        mine = np.abs(kept.filter(pl.col("row") == row)["score"].to_numpy()).reshape(found.shape)
        np.testing.assert_allclose(mine, found, rtol=1e-4, atol=1e-5)
    positive = pl.read_parquet(folder / "neurons.parquet").filter(pl.col("polarity") == "+")
    promoted = {(row["layer"], row["neuron"]): row["promotes_ids"] for row in positive.iter_rows(named=True)}
    record = json.loads((folder / "cot_all_0_0.json").read_text())
    compared = 0
    for layer, of_layer in enumerate(record.values()):
        for name, told in of_layer.items():
            mine = promoted.get((layer, int(name.partition("N")[2])))
            if mine is not None:
                assert {token for _, token, _ in told["promotes"]} == set(mine), (layer, name)
                compared += 1
    assert compared > 100


if __name__ == "__main__":
    main()
