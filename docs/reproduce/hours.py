"""Hours on a GPU, computed: the tables of this folder's pages. Nobody has measured them.

    uv run python docs/reproduce/hours.py

Reading a text costs 2 operations per parameter and token (4 with a backward pass through frozen weights, 6 where all
weights learn), at `SHARE` of the GPU's peak. A decoding step reads the weights and the key-value cache once, at
`BANDWIDTH` of the memory's speed, and takes `LAUNCH` seconds at least. Both times our cost beside plain Hugging
Face (`ratio`), measured on a CPU: `benchmarks/results`.
"""

from typing import NamedTuple

SHARE, BANDWIDTH = 0.4, 0.6
LAUNCH = 0.020  # plain Hugging Face, 8B: 70 tokens in 1.33 to 1.5 s on a data-centre GPU (nnsight's pull request 652)


class Gpu(NamedTuple):
    """A vendor's figures: dense bfloat16 operations and bytes per second."""

    name: str
    peak: float
    memory: float


class Model(NamedTuple):
    """Parameters, those needed where no logits are wanted, and bytes of cache per token, at 16 bits."""

    parameters: float
    blocks: float
    cache: float


class Work(NamedTuple):
    """What a command asks of a model."""

    what: str
    model: Model
    read: float = 0
    """Tokens of whole texts."""
    passes: float = 2
    """Operations per parameter and token."""
    steps: float = 0
    """Decoding steps of a batch."""
    rows: float = 0
    """Rows of a batch that still write, on average."""
    length: float = 0
    """Tokens of a row in the cache."""
    ratio: float = 1
    """Measured cost beside plain Hugging Face."""
    head: bool = True
    """Whether logits are computed."""

    def seconds(self, gpu: Gpu) -> float:
        """By the formula above."""
        weights = self.model.parameters if self.head else self.model.blocks
        reading = self.passes * weights * self.read / (SHARE * gpu.peak)
        moved = 2 * self.model.parameters + self.rows * self.length * self.model.cache
        return self.ratio * (reading + self.steps * max(LAUNCH, moved / (BANDWIDTH * gpu.memory)))


GPUS = (Gpu("A100 80 GB", 312e12, 2.04e12), Gpu("H100 80 GB", 989e12, 3.35e12))
LLAMA_2 = Model(6.74e9, 6.61e9, 2 * 32 * 4096 * 2)
LLAMA_3 = Model(8.03e9, 6.98e9, 2 * 32 * 1024 * 2)
GROKKED = Model(59.2e6, 56.7e6, 0)

_ABLATED = 4 * (1 + 3 * 20) + 1  # four concepts, each by itself and 20 draws of 3 kinds; and the whole model
TABLES: dict[str, tuple[Work, ...]] = {
    "cot-neurons": (
        Work("`infer`, 1,319 problems, one prompt", LLAMA_2, read=1319 * 950, steps=42 * 300, rows=20, length=1100),
        Work("`discover`, 100 chains", LLAMA_2, read=100 * 950, steps=4 * 300, rows=20, length=1100, ratio=1.06),
        Work("`activity`, 5 prompts × 300 chains", LLAMA_2, read=5 * 300 * 1100),
        Work(
            f"`ablate`, {_ABLATED} conditions × 200 problems", LLAMA_2, read=_ABLATED * 200 * (950 + 1100),
            steps=_ABLATED * 200 / 64 * 300, length=1100, rows=40, ratio=1.14,
        ),
    ),
    "memreason": (
        Work("`train`, one arm: 1,443 traces, 10 epochs", LLAMA_3, read=1443 * 10 * 300, passes=4, steps=4 * 5 * 200),
        Work("`evaluate`, 687 questions", LLAMA_3, read=687 * 100, steps=22 * 256, rows=20, length=250),
        Work("`steer`, 5 ways × 687 questions", LLAMA_3, read=5 * 687 * 100, steps=5 * 22 * 256, rows=20, length=250),
        Work("`attention`, 200 traces", LLAMA_3, read=200 * 300 * 4),
    ),
    "expgen": (
        Work("`exemplars`, 1,000,000 sequences of 96 tokens", LLAMA_3, read=96e6, ratio=1.39, head=False),
        Work("`score`, 2,000 features × 3 × 20 texts, 8B simulator", LLAMA_3, read=2000 * 3 * 20 * 250),
        Work("`train-simulator`, 1,500 steps of 32 texts, LoRA", LLAMA_3, read=1500 * 32 * 250, passes=4),
    ),
    "grokked-reasoning": (
        Work("`train --profile paper`, 1,500,000 steps", GROKKED, read=1.5e6 * 512 * 3, passes=6, head=False),
    ),
}  # fmt: skip


def told(seconds: float) -> str:
    """`40 min`, `5.2 h`."""
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{max(1, round(seconds / 60))} min"


def table(works: tuple[Work, ...]) -> str:
    """Markdown."""
    names = " | ".join(gpu.name for gpu in GPUS)
    rows = [f"| {each.what} | " + " | ".join(told(each.seconds(gpu)) for gpu in GPUS) + " |" for each in works]
    return "\n".join([f"| computed, not measured | {names} |", "|---|" + "---:|" * len(GPUS), *rows])


if __name__ == "__main__":
    for page, works in TABLES.items():
        print(f"{page}\n\n{table(works)}\n")
