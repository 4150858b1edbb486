"""How well tiny-reasoner does: right chains and right answers by axis, steps and operator, and recall of the world."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from specimens import arithmetic, world
from specimens.text import document, query, right_answer, right_chain, right_recall

MAX_NEW_TOKENS = 160
_BATCH = 64
_FEW_SHOT_PROBLEMS = 200
SHOTS = (1, 3, 5, 8)
GROUPS = (
    *("all", "1 step", "2 steps", "3 steps", "4 steps", "with +", "with -", "with *", "with /"),
    *(f"{shots}-shot" for shots in SHOTS),
    *world.WORLD_SPLITS,
)
"""The rows of the table, in order: of each arithmetic axis, of the axis `few-shot`, of the axis `world`."""


Rows = Sequence[arithmetic.Problem] | Sequence[world.Question]
Right = Callable[[str, str], bool]


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
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[str], demos: str = ""
) -> list[str]:
    """Greedy completions, up to a blank line, of questions after `demos`: plain `generate`, padded on the left."""
    completions = [""] * len(questions)
    order = sorted(range(len(questions)), key=lambda i: len(questions[i]))
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        batch = tokenizer(
            [demos + query(questions[i]) for i in rows], return_tensors="pt", padding=True, padding_side="left"
        )
        ids, mask = batch["input_ids"], batch["attention_mask"]
        out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)  # type: ignore[operator]
        texts = tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        for i, text in zip(rows, texts, strict=True):
            completions[i] = text.split("\n\n")[0]
    return completions


def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, per_axis: int) -> list[Score]:
    """The whole table: `per_axis` problems of every arithmetic axis, and at most as many of each split of the world."""
    graded: list[Graded] = []

    def ask(axis: str, rows: Rows, groups: list[tuple[str, ...]], right: Right, demos: str = "") -> None:
        said = solve(model, tokenizer, [row.question for row in rows], demos)
        for row, names, text in zip(rows, groups, said, strict=True):
            graded.append(Graded(axis, names, right(text, row.answer), right_answer(text, row.answer)))

    for axis in arithmetic.TEST_AXES:
        problems = arithmetic.problems(axis, per_axis)
        ask(axis, problems, [_groups(p) for p in problems], right_chain)
    few = arithmetic.problems("in-distribution", min(per_axis, _FEW_SHOT_PROBLEMS))
    for shots in SHOTS:
        ask("few-shot", few, [(f"{shots}-shot",)] * len(few), right_chain, _demos(shots))
    for split in world.WORLD_SPLITS:
        questions = world.questions(split)[:per_axis]
        ask("world", questions, [(split,)] * len(questions), right_recall)
    return summarize(graded)


def _demos(shots: int) -> str:
    """Solved training problems, each followed by a blank line."""
    return "".join(f"{document(p.question, p.answer)}\n\n" for p in arithmetic.problems("train", shots))


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


def _groups(problem: arithmetic.Problem) -> tuple[str, ...]:
    """The rows of the table a problem counts in: all, its number of steps, each operator it uses."""
    return (
        "all",
        f"{problem.steps} step{'s' * (problem.steps > 1)}",
        *(f"with {op}" for op in sorted(set(problem.operators))),
    )
