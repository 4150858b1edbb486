"""How well tiny-reasoner does: right chains and right answers by axis, steps and operator, and recall of the world."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from specimens import arithmetic, world
from specimens.text import query, right_answer, right_chain, right_recall

MAX_NEW_TOKENS = 160
GROUPS = ("all", "1 step", "2 steps", "3 steps", "4 steps", "with +", "with -", "with *", "with /", *world.WORLD_SPLITS)
"""The rows of the table of each axis, in order; the last are those of the axis `world`."""


class Score(NamedTuple):
    """Counts of one group of problems, all answered greedily without demonstrations."""

    axis: str
    group: str
    problems: int
    right_chains: int
    right_answers: int


class Graded(NamedTuple):
    """One answered problem."""

    axis: str
    groups: tuple[str, ...]
    chain: bool
    answer: bool


@torch.no_grad()
def solve(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[str], batch_size: int = 64
) -> list[str]:
    """Greedy completions of bare questions, with plain Hugging Face `generate` and left padding."""
    completions = [""] * len(questions)
    order = sorted(range(len(questions)), key=lambda i: len(questions[i]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = tokenizer([query(questions[i]) for i in rows], return_tensors="pt", padding=True, padding_side="left")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)  # type: ignore[operator]
        texts = tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        for i, text in zip(rows, texts, strict=True):
            completions[i] = text
    return completions


def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, per_axis: int) -> list[Score]:
    """The whole table: `per_axis` problems of every arithmetic axis, and at most as many of each split of the world."""
    graded: list[Graded] = []
    for axis in arithmetic.TEST_AXES:
        problems = arithmetic.problems(axis, per_axis)
        said = solve(model, tokenizer, [p.question for p in problems])
        graded += [
            _grade(axis, _groups(p), text, p.answer, right_chain) for p, text in zip(problems, said, strict=True)
        ]
    for split in world.WORLD_SPLITS:
        questions = world.questions(split)[:per_axis]
        said = solve(model, tokenizer, [q.question for q in questions])
        graded += [
            _grade("world", (split,), text, q.answer, right_recall) for q, text in zip(questions, said, strict=True)
        ]
    return summarize(graded)


def summarize(graded: Iterable[Graded]) -> list[Score]:
    """Counts per axis, in order of appearance, and group, in the order of `GROUPS`."""
    cells: dict[tuple[str, str], list[Graded]] = {}
    for one in graded:
        for group in one.groups:
            cells.setdefault((one.axis, group), []).append(one)
    return [
        Score(axis, group, len(cell), sum(g.chain for g in cell), sum(g.answer for g in cell))
        for axis in dict.fromkeys(axis for axis, _ in cells)
        for group in GROUPS
        if (cell := cells.get((axis, group)))
    ]


def _grade(axis: str, groups: tuple[str, ...], text: str, answer: str, right: Callable[[str, str], bool]) -> Graded:
    return Graded(axis, groups, right(text, answer), right_answer(text, answer))


def _groups(problem: arithmetic.Problem) -> tuple[str, ...]:
    """The rows of the table a problem counts in: all, its number of steps, each operator it uses."""
    return (
        "all",
        f"{problem.steps} step{'s' * (problem.steps > 1)}",
        *(f"with {op}" for op in sorted(set(problem.operators))),
    )
