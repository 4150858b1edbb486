"""What causal tracing costs, against one plain forward per cell.

    uv run python benchmarks/trace_speed.py [--write] [--device cuda]

The plain way is ROME's (Meng et al. 2022): for every token and layer one forward of 11 rows, the clean prompt and 10
noised ones, in which hooks add the noise to the span's embeddings and put the clean row's activation into the others.
Ours gives the same numbers, which is checked before anything is reported. Both see the same noise. Process time on a
CPU, time until the device has finished elsewhere; in turn, in one process, on random models of 12 blocks.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import actkit
import numpy as np
import torch
from actkit.tracing.inputs import prepare
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedModel

TOKENS, SAMPLES, SPAN, WINDOW, TARGET = 10, 10, (1, 2, 3), 10, 5
RESULTS = Path(__file__).parent / "results" / "trace_speed.json"
SITES = {"resid_post": 1, "mlp_out": WINDOW}
"""Kind of site -> layers patched together."""


def main() -> None:
    """Measure, check, print, and write results/trace_speed.json where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = [
        compare(name, model.to(arguments.device), site, window, arguments.rounds)
        for name, model in {"gpt2-like": gpt2_like(), "llama-like": llama_like()}.items()
        for site, window in SITES.items()
    ]
    report = {"device": arguments.device, "threads": 1, "torch": torch.__version__, "comparisons": results}
    print(json.dumps(report, indent=2))
    if arguments.write:
        name = RESULTS if arguments.device == "cpu" else RESULTS.with_stem(f"{RESULTS.stem}_{arguments.device}")
        name.write_text(json.dumps(report, indent=2) + "\n")


def gpt2_like() -> PreTrainedModel:
    """12 blocks of 512, 8,192 tokens."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(
        GPT2Config(n_layer=12, n_embd=512, n_head=8, vocab_size=8192, bos_token_id=1, eos_token_id=2)
    ).eval()


def llama_like() -> PreTrainedModel:
    """12 blocks of 512 with gated MLPs, 8,192 tokens."""
    torch.manual_seed(0)
    config = LlamaConfig(
        num_hidden_layers=12, hidden_size=512, intermediate_size=1376, num_attention_heads=8, vocab_size=8192
    )
    return AutoModelForCausalLM.from_config(config).eval()


def compare(name: str, hf: PreTrainedModel, site: str, window: int, rounds: int) -> dict[str, object]:
    """Both ways in turn, after one round that is not counted."""
    model = actkit.load(hf)
    ids = torch.randint(3, 8000, (1, TOKENS), generator=torch.Generator().manual_seed(1)).tolist()
    noised = actkit.Noised(SPAN, samples=SAMPLES)
    noise = prepare(model, ids, noised).noise(range(SAMPLES), 512).to(model.device)

    def plain() -> Tensor:
        return one_by_one(hf, torch.tensor(ids, device=model.device), noise, site, window)

    def ours() -> Tensor:
        return actkit.trace(model, ids, noised, at=site, window=window, metric="prob", target=TARGET).values[0]

    difference = float((plain().double().cpu() - ours()).abs().max() / plain().abs().max())
    assert difference <= 1e-6, f"{name}, {site}: relative difference {difference}"
    times = [(seconds(plain, model.device), seconds(ours, model.device)) for _ in range(rounds)]
    ratios = sorted(a / b for a, b in times)
    return {
        "model": name,
        "site": site,
        "window": window,
        "ratio_median": float(np.median(ratios)),
        "ratio_min": ratios[0],
        "ratio_max": ratios[-1],
        "seconds_median": [float(np.median(each)) for each in zip(*times, strict=True)],
        "largest_relative_difference": difference,
        "rounds": rounds,
    }


def seconds(work: Callable[[], Tensor], device: torch.device) -> float:
    """How long it takes: process time, or on an accelerator wall time until it has finished."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start = clock()
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return clock() - start


@torch.no_grad()
def one_by_one(hf: PreTrainedModel, ids: Tensor, noise: Tensor, site: str, window: int) -> Tensor:
    """[layers, tokens]: mean probability of the target over the noised rows, one forward of 11 rows per cell."""
    blocks = hf.transformer.h if hasattr(hf, "transformer") else hf.model.layers
    modules = [block if site == "resid_post" else block.mlp for block in blocks]
    batch = ids.expand(len(noise) + 1, -1)
    cells = [
        [_cell(hf, batch, noise, _near(modules, i, window), t) for t in range(TOKENS)] for i in range(len(modules))
    ]
    return torch.tensor(cells, device=ids.device)


def _near(modules: list[nn.Module], layer: int, window: int) -> list[nn.Module]:
    if window == 1:
        return [modules[layer]]
    return modules[max(0, layer - window // 2) : layer - (-window // 2)]


def _cell(hf: PreTrainedModel, batch: Tensor, noise: Tensor, modules: list[nn.Module], token: int) -> float:
    def spoil(_module, _args, out):
        out = out.clone()
        out[1:] += noise
        return out

    def restore(_module, _args, out):
        hidden = out[0] if isinstance(out, tuple) else out
        hidden[1:, token] = hidden[0, token]
        return out

    hooks = [hf.get_input_embeddings().register_forward_hook(spoil)]
    hooks += [module.register_forward_hook(restore) for module in modules]
    try:
        return float(hf(batch).logits[1:, -1].softmax(-1).mean(0)[TARGET])
    finally:
        for hook in hooks:
            hook.remove()


if __name__ == "__main__":
    main()
