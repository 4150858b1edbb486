"""The model card of an exported student."""

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from scipy.stats import binomtest

from memreason.scheme import MARKER
from memreason.student import Base, Student

_MEANT = {
    "none": "plain steps, without any token before them",
    "hard": "a tag in words before each step, such as [memory]",
    "general": "the same new tokens before every step",
    "uniform": "as many new tokens as the typed arm, the same ones before every step",
    "random": "kinds drawn by a coin",
    "shuffled": "the steps' kinds in another order",
    "typed": "new tokens before each step that say whether it recalls or infers",
    "planned": "kinds from clusters of the base model's hidden states",
}


class Measured(NamedTuple):
    """Answers to the questions of one split; the interval is Wilson's, 95 %."""

    dataset: str
    split: str
    n: int
    accuracy: float
    low: float
    high: float
    invalid: float


class Facts(NamedTuple):
    """What a card tells: `trained` are the options of the training, where they are known."""

    base: Base
    trained: dict[str, Any]
    measured: list[Measured]


def measured(answers: pl.DataFrame) -> list[Measured]:
    """Per dataset and split of the table `answers`."""
    found: list[Measured] = []
    for (dataset, split), rows in answers.group_by("dataset", "split", maintain_order=True):
        right, n = int(rows["correct"].sum()), len(rows)
        invalid = len(rows.filter(pl.col("status") == "invalid"))
        interval = binomtest(right, n).proportion_ci(method="wilson")
        found.append(Measured(str(dataset), str(split), n, right / n, interval.low, interval.high, invalid / n))
    return found


def text(student: Student, facts: Facts) -> str:
    """README.md."""
    base, on_hub = facts.base.model, not Path(facts.base.model).is_absolute()
    head = ["---", "library_name: transformers", "pipeline_tag: text-generation"]
    head += [f"base_model: {base}"] if on_hub and not base.startswith("specimen:") else []
    parts = ["\n".join([*head, "tags: [memreason]", "---"]), f"# {student.name}"]
    parts.append(_made(student, facts, base if on_hub else Path(base).name))
    parts.append(_asked(student))
    if facts.measured:
        parts.append(_table(facts.measured))
    return "\n\n".join(parts) + "\n"


def _made(student: Student, facts: Facts, base: str) -> str:
    scheme, trained = student.scheme, facts.trained
    lines = [f"- base: {base}" + (f" (revision {facts.base.revision})" if facts.base.revision else "")]
    lines.append(f"- arm: {scheme.arm} ({_MEANT[scheme.arm]})")
    if scheme.tokens:
        lines.append(f"- new tokens: {', '.join(f'`{name}`' for name in scheme.tokens)}")
    if trained:
        lines.append(f"- data: {Path(trained['data']).name}")
        lines.append(
            f"- training: mode {trained['mode']}, {trained['epochs']:g} epochs, learning rate "
            f"{trained['learning_rate']:g}, seed {trained['seed']}"
        )
    about = (
        "A causal language model that writes a chain of steps, after Jin et al. (ACL 2025); merged into plain weights."
    )
    return "\n".join([about, "", *lines])


def _asked(student: Student) -> str:
    how = "the tokenizer's chat template" if student.scheme.chat else "`Question: {question}` and a newline"
    return (
        f"## Use\n\nPut a question in by {how}; decoding is greedy. A step is a line; the answer line begins with "
        f"`{MARKER}`. The new tokens are special tokens: decode with `skip_special_tokens=False` to see the kinds."
    )


def _table(found: list[Measured]) -> str:
    lines = ["## Measured", "", "| dataset | split | questions | accuracy | 95 % | no valid answer |", "|---" * 6 + "|"]
    lines += [
        f"| {each.dataset} | {each.split} | {each.n} | {each.accuracy:.3f} | {each.low:.3f} to {each.high:.3f} | "
        f"{each.invalid:.3f} |"
        for each in found
    ]
    return "\n".join(lines)
