"""What looking inside costs, against a plain Hugging Face forward of the same batch that gives the same logits.

    uv run python benchmarks/hooks_speed.py [--write] [--shape tiny gpt2-small] [--device cuda] [--dtype bfloat16]

On the CPU process time of one thread, on an accelerator the time until it has finished. Both sides take turns and get
the same ids, mask and positions; 4 rows of 64 tokens, random weights. "(blocks)" is the model without its head:
embedding, all blocks and the final norm, since a capture that asks for no logits ends before the head. Patterns are
compared with how Hugging Face gives them: the whole model eager, `output_attentions=True`.
"""

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import actkit
import torch
import transformers
from shapes import SHAPES, random_ids, random_model
from timing import Work, milliseconds, race, ratio

RESULTS = Path(__file__).parent / "results" / "hooks_speed.json"
ROWS, TOKENS, NEW = 4, 64, 32
Comparison = tuple[str, Work, Work, float | None]
"""What is compared, ours, theirs, and the ratio it should stay below."""


def main() -> None:
    """Race, print a table, write results/hooks_speed.json when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", default=["tiny", "gpt2-small"], choices=SHAPES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--sample", type=float, default=0.5, help="seconds one sample takes")
    parser.add_argument("--write", action="store_true", help="write results/hooks_speed.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for shape in options.shape for row in _raced(shape, options)]
    if options.write:
        _write(options, rows)


def _raced(shape: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All comparisons of one shape, each printed as soon as it is there."""
    hf = random_model(shape, device=options.device, dtype=getattr(torch, options.dtype))
    model = actkit.load(hf)
    bench = Bench(model)
    rows: list[dict[str, Any]] = []
    with torch.no_grad():
        for what, ours, plain, target in bench.comparisons():
            taken = race(
                {"ours": ours, "plain": plain}, rounds=options.rounds, sample=options.sample, device=options.device
            )
            rows.append(
                {"shape": shape, "what": what, "target": target, **ratio(taken, "ours", "plain")}
                | {"milliseconds": milliseconds(taken)}
            )
            _print(rows[-1])
    return rows


class Bench:
    """One model, its plain forwards, and what they are compared with."""

    def __init__(self, model: actkit.Model) -> None:
        self.model, self.hf = model, model.hf
        self.batch = model.encode(random_ids(model.hf, ROWS, TOKENS))
        self.given = {
            "input_ids": self.batch.input_ids,
            "attention_mask": self.batch.attention_mask,
            "position_ids": self.batch.position_ids,
        }
        # The same weights once more, in modules of their own.
        self.eager = copy.deepcopy(model.hf, {id(weight): weight for weight in model.hf.parameters()})
        self.eager.set_attn_implementation("eager")

    def comparisons(self) -> list[Comparison]:
        """In the order in which they are printed."""
        last, layers = self.plain(logits_to_keep=1), self.model.dims.layers
        return [
            ("nothing captured, last logits", self.ours(()), last, None),
            ("all resid_post, last logits", self.ours("resid_post.*"), last, 1.02),
            ("all resid_post, all logits", self.ours("resid_post.*", "all"), self.plain(), 1.02),
            ("all resid_post, last logits, against ids alone", self.ours("resid_post.*"), self.bare, None),
            ("all mlp_post, last logits", self.ours("mlp_post.*"), last, 1.05),
            ("all mlp_post, all logits", self.ours("mlp_post.*", "all"), self.plain(), 1.05),
            *(self.early(layer) for layer in sorted({0, layers // 4, layers // 2 - 1, layers - 1})),
            ("one attn_pattern, against sdpa", self.ours("attn_pattern.0"), last, None),
            ("one attn_pattern, against Hugging Face's eager", self.ours("attn_pattern.0"), self.attentions, None),
            ("all attn_pattern, against Hugging Face's eager", self.ours("attn_pattern.*"), self.attentions, None),
            (f"generate {NEW} tokens, nothing captured", self.decoded(()), self.generated, None),
            (f"generate {NEW} tokens with all resid_post", self.decoded("resid_post.*"), self.generated, None),
        ]  # fmt: skip

    def ours(self, capture: Any, logits: Any = "last") -> Work:
        """One run."""
        return lambda: self.model.run(self.batch, capture=capture, logits=logits)

    def plain(self, **keep: int) -> Work:
        """Hugging Face's forward of the same batch."""
        return lambda: self.hf(**self.given, use_cache=False, **keep)

    def bare(self) -> object:
        """Hugging Face's forward of the ids alone: right only where no row is padded."""
        return self.hf(input_ids=self.batch.input_ids, use_cache=False, logits_to_keep=1)

    def early(self, layer: int) -> Comparison:
        """Capture up to a layer, which should cost that share of all blocks, and 5 % of a forward at most beside."""
        share = (layer + 1) / self.model.dims.layers
        names = [f"resid_post.{each}" for each in range(layer + 1)]
        what = f"layers 0 to {layer}, against all (blocks): share {share:.3f}"
        return what, self.ours(names, None), self.blocks, round(share + 0.05, 4)

    def blocks(self) -> object:
        """The whole model but for its head."""
        return self.hf.base_model(**self.given, use_cache=False)

    def attentions(self) -> object:
        """How Hugging Face gives patterns: the whole model eager."""
        return self.eager(**self.given, use_cache=False, output_attentions=True, logits_to_keep=1)

    def decoded(self, capture: Any) -> Work:
        """Our decoding; captures are handed over step by step."""
        return lambda: self.model.generate(self.batch, capture=capture, max_new_tokens=NEW, eos=False, on_step=_ignore)

    def generated(self) -> object:
        """Hugging Face's own decoding of as many tokens."""
        return self.hf.generate(
            input_ids=self.batch.input_ids,
            attention_mask=self.batch.attention_mask,
            max_new_tokens=NEW,
            min_new_tokens=NEW,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )


def _ignore(_step: actkit.Step) -> None:
    pass


def _print(row: dict[str, Any]) -> None:
    target = "" if row["target"] is None else f"target {row['target']:.3f}"
    ours, plain = row["milliseconds"].values()
    spread = f"{row['median']:.3f} [{row['q25']:.3f}, {row['q75']:.3f}]"
    print(f"{row['shape']:12} {row['what']:50} {spread:23} {target:13} {ours:9.2f} / {plain:.2f} ms", flush=True)


def _write(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Results of other devices and dtypes stay."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    place = torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu, 1 thread"
    known[f"{place}, {options.dtype}"] = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "rows_tokens": [ROWS, TOKENS],
        "rounds": options.rounds,
        "comparisons": rows,
    }
    RESULTS.write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    main()
