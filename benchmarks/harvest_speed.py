"""What a harvest costs: the strongest tokens of every neuron, against the plain forward passes alone.

    uv run python benchmarks/harvest_speed.py
    uv run python benchmarks/harvest_speed.py --device cuda --shape llama-3.1-8b --dtype bfloat16 --length 512

In one process, in turn, over the same batches of a random model: a whole `actkit.harvest` with `TopK` at all
`mlp_post` (reading the rows, forward passes, reduction, checkpoints, finished store), Hugging Face's decoder without
its head, and with logits at the last position. The share is a plain forward's time over the harvest's. Before
anything is reported each neuron's strongest value is checked, bit for bit, against hooks on the plain forward.
`--mixed` draws rows of 1/4 to all of the length instead of equal ones. Every harvest starts
from nothing, so its time includes the costly first batches; with more rows their part shrinks.
"""

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import actkit
import torch
from actkit.harvest.rows import Corpus, Index, spool
from shapes import SHAPES, random_model
from timing import milliseconds, race, ratio

RESULTS = Path(__file__).parent / "results"
SHARD_TOKENS = 1 << 20


def main() -> None:
    """Measure, check, print, and write results/harvest_speed_DEVICE_SHAPE.json."""
    given = _arguments()
    if given.device == "cpu":
        torch.set_num_threads(1)
    hf = random_model(given.shape, device=given.device, dtype=getattr(torch, given.dtype))
    model = actkit.load(hf)
    rows = _rows(given, model.dims.vocab)
    batches = _batches(model, rows, given.batch)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        works = {
            "harvest": lambda: _harvest(model, rows, given, Path(folder)),
            "decoder": lambda: [hf.model(**batch, use_cache=False) for batch in batches],
            "last": lambda: [hf(**batch, use_cache=False, logits_to_keep=1) for batch in batches],
        }
        _check(works["harvest"](), hf, batches)
        taken = race(works, rounds=given.rounds, device=given.device)
        peak = torch.cuda.max_memory_allocated() if given.device == "cuda" else None
    tokens = sum(map(len, rows))
    report = {
        **vars(given),
        "tokens": tokens,
        "torch": torch.__version__,
        "device_name": torch.cuda.get_device_name() if given.device == "cuda" else "cpu, 1 thread",
        "milliseconds": milliseconds(taken),
        "tokens_per_second": {name: round(tokens / (ms / 1e3)) for name, ms in milliseconds(taken).items()},
        "share_of_decoder": ratio(taken, "decoder", "harvest"),
        "share_of_forward_with_last_logits": ratio(taken, "last", "harvest"),
        "peak_device_bytes": peak,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"harvest_speed_{given.device}_{given.shape}.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--shape", default="tiny", choices=[name for name, (kind, _) in SHAPES.items() if kind == "llama"]
    )
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--poles", default="+", choices=["+", "-", "both"])
    parser.add_argument("--mixed", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _rows(given: argparse.Namespace, vocab: int) -> list[list[int]]:
    rng = random.Random(0)
    lengths = [rng.randint(given.length // 4, given.length) if given.mixed else given.length for _ in range(given.rows)]
    return [[rng.randrange(3, vocab) for _ in range(length)] for length in lengths]


def _batches(model: actkit.Model, rows: list[list[int]], batch_size: int) -> list[dict[str, torch.Tensor]]:
    """The very batches a harvest makes of these rows, on the device."""
    with tempfile.TemporaryDirectory() as name:
        index = spool(Path(name), rows, SHARD_TOKENS)
        found = Corpus(Path(name), Index.of(index))
        made = [
            b.to(model.device) for s in range(len(index.shards)) for b, _ in found.batches(s, batch_size, model.pad_id)
        ]
    fields = ("input_ids", "attention_mask", "position_ids")
    return [{field: getattr(batch, field) for field in fields} for batch in made]


def _harvest(model: actkit.Model, rows: list[list[int]], given: argparse.Namespace, folder: Path) -> actkit.Store:
    reduce = actkit.TopK(given.k, given.poles)
    settings: dict[str, Any] = {"batch_size": given.batch, "shard_tokens": SHARD_TOKENS, "resume": False, "quiet": True}
    return actkit.harvest(model, rows, "mlp_post.*", reduce=reduce, store=folder, **settings)


def _check(store: actkit.Store, hf: Any, batches: list[dict[str, torch.Tensor]]) -> None:
    """Every neuron's strongest value is the largest (or lowest) a hook sees at a real token of the same batches."""
    poles = store.manifest["asked"]["reducers"]["topk"]["poles"]
    pick = torch.amin if poles == "-" else torch.amax
    for layer, block in enumerate(hf.model.layers):
        seen: list[torch.Tensor] = []
        handle = block.mlp.down_proj.register_forward_pre_hook(lambda _m, args, seen=seen: seen.append(args[0]))
        best = []
        for batch in batches:
            hf.model(**batch, use_cache=False)
            best.append(pick(seen.pop()[batch["attention_mask"].bool()], 0).float().cpu())
        handle.remove()
        values = store[f"mlp_post.{layer}"]["values"]
        first = (values[0] if poles == "both" else values)[:, 0]
        assert torch.equal(first, pick(torch.stack(best), 0)), f"layer {layer} differs from the plain forward"


if __name__ == "__main__":
    main()
