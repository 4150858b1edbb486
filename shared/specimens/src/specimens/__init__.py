"""Models whose answers are known: tiny-reasoner, planted neurons, one tiny model per family.

What is here needs no torch: paths of the specimens, and test sets written on first use.
"""

from pathlib import Path

__all__ = [
    "arithmetic_mixed",
    "arithmetic_test",
    "steps_test",
    "tiny_reasoner",
    "tiny_text",
    "world_test",
    "world_text",
]


def tiny_reasoner() -> Path:
    """The folder of the shipped model: Hugging Face weights, tokenizer, model card and its run record `run.json`."""
    return Path(__file__).parent / "data" / "tiny_reasoner"


def arithmetic_test() -> Path:
    """A JSONL file of 500 word problems in GSM8K's form: tiny-reasoner's kind, but none of them in its training."""
    from specimens.testsets import arithmetic_test

    return arithmetic_test()


def arithmetic_mixed() -> Path:
    """The same kind in 500 rows of which tiny-reasoner gets some wrong: half like `arithmetic_test`, a quarter each
    with names and with story pieces that training never shows."""
    from specimens.testsets import arithmetic_mixed

    return arithmetic_mixed()


def steps_test() -> Path:
    """A JSONL file of 240 questions in GSM8K's form: half of them are about the world, and their steps recall; half are
    word problems, and their steps compute. Each ends in tiny-reasoner's lead-in, so that steps follow right away."""
    from specimens.testsets import steps_test

    return steps_test()


def tiny_text() -> Path:
    """A JSONL file of texts as tiny-reasoner has read them: 3,000 solved word problems, and all about its world."""
    from specimens.testsets import tiny_text

    return tiny_text()


def world_test() -> Path:
    """A JSONL file of every question about tiny-reasoner's world, with the split each belongs to."""
    from specimens.testsets import world_test

    return world_test()


def world_text() -> Path:
    """A text file: every question about the world with its answer, as tiny-reasoner has read them; no arithmetic."""
    from specimens.testsets import world_text

    return world_text()
