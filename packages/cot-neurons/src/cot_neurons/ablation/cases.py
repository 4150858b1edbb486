"""What each condition is tried on: word problems, another task, other text; and what comes of one batch of them.

Free writing says what the model still gets right. Beside it the reference solution is read with every token in its
place ("forced"), so that an early mistake cannot spoil what is measured of later equations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import actkit
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cot_neurons import answers
from cot_neurons.ablation.interventions import Condition, Interventions, Rows
from cot_neurons.equations import Equation, equations
from cot_neurons.subject import Subject
from cot_neurons.tags import Pieces

OPERATORS = ("+", "-", "*", "/")
OPERATOR_OF = {"add": "+", "subtract": "-", "multiply": "*", "division": "/"}
"""The operator that a shipped concept stands for."""
_AT_ONCE = 2048  # positions unembedded together


@dataclass(frozen=True)
class Case:
    """One thing to try: a problem (`source` items or task), or a stretch of text.

    `number` is the case's own, over all sources. `forced`: token ids of what is read with every token in its place,
    `groups` what each belongs to: (operator or answer or rest, which equation). `gold_equations`: operator and value.
    `new_tokens`: tokens of the whole model's answer.
    """

    number: int
    source: str
    row: int
    prompt_ids: list[int]
    gold: str
    forced: list[int]
    groups: list[tuple[str, int]]
    gold_equations: list[tuple[str, Any]]
    new_tokens: int = 0


def problems(items: pl.DataFrame, source: str, start: int, subject: Subject) -> list[Case]:
    """Cases from a table `items`, counted from `start`; a solution that does not fit the context is not read."""
    tokenizer, pieces = subject.model.tokenizer, Pieces(subject.model.tokenizer)
    found = []
    for number, row in enumerate(items.iter_rows(named=True), start):
        solution = row["solution"] or ""
        forced = _continuation(tokenizer, solution)
        if subject.model.too_long([row["prompt_ids"]], extra=len(forced)):
            forced = []
        told = [(each.operators[0], each.value) for each in equations(solution) if each.operators]
        groups = _groups(solution, row["gold"], pieces(forced))
        found.append(
            Case(number, source, row["row"], row["prompt_ids"], row["gold"], forced, groups, told, row["new_tokens"])
        )
    return found


def windows(text: str, start: int, subject: Subject, size: int, limit: int) -> list[Case]:
    """Stretches of `size` tokens of a text, at most `limit`."""
    ids = subject.model.tokenize([text])[0] if text.strip() else []
    cut = [ids[at : at + size] for at in range(0, len(ids) - 1, size)][:limit]
    return [
        Case(start + i, "text", i, each[:1], "", each[1:], [("rest", 0)] * (len(each) - 1), [])
        for i, each in enumerate(cut)
        if len(each) > 1
    ]


def _continuation(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text that goes on after a line end, as a prompt does; without a space put before it."""
    before: list[int] = tokenizer.encode("\n", add_special_tokens=False)
    both: list[int] = tokenizer.encode("\n" + text, add_special_tokens=False)
    alone: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return both[len(before) :] if both[: len(before)] == before else alone


def _groups(text: str, gold: str, pieces: Sequence[str]) -> list[tuple[str, int]]:
    """What each token of a solution belongs to: an equation, from operator to result; the answer; or the rest.

    A solution ends by stating its answer, a number or a word.
    """
    spans = [(*_span(each), each.operators[0], i) for i, each in enumerate(equations(text)) if each.operators]
    if (answer := text.rfind(gold)) >= 0:
        spans = [span for span in spans if span[0] < answer] + [(answer, answer + len(gold), "answer", 0)]
    groups, start = [], 0
    for piece in pieces:
        end = start + max(len(piece), 1)
        groups.append(next(((name, i) for a, b, name, i in spans if a < end and start < b), ("rest", 0)))
        start += len(piece)
    return groups


def _span(equation: Equation) -> tuple[int, int]:
    operator = next(part for part in equation.parts if part.tag == "operator")
    return operator.start, equation.parts[-1].end


class Trial:
    """Runs batches of (condition, case)."""

    def __init__(self, subject: Subject, interventions: Interventions, *, stops: Sequence[str], tokens: int) -> None:
        self._subject, self._interventions = subject, interventions
        self._stops, self._tokens = stops, tokens

    def __call__(self, pairs: Sequence[tuple[Condition, Case]]) -> list[dict[str, Any]]:
        """One record per pair: columns of the table `outcomes`."""
        texts = self._written([pair for pair in pairs if pair[1].source != "text"])
        forced = self._forced([pair for pair in pairs if pair[1].forced])
        return [
            {"condition": condition.number, "source": case.source, "row": case.row}
            | _scored(case, texts.get((condition.number, case.number)))
            | forced.get((condition.number, case.number), {})
            for condition, case in pairs
        ]

    def _rows(self, pairs: Sequence[tuple[Condition, Case]]) -> Rows:
        columns = zip(*((each.number, case.number, len(case.prompt_ids)) for each, case in pairs), strict=True)
        return Rows(*(torch.tensor(column) for column in columns))

    def _written(self, pairs: Sequence[tuple[Condition, Case]]) -> dict[tuple[int, int], str]:
        if not pairs:
            return {}
        model = self._subject.model
        made = model.generate(
            model.encode([case.prompt_ids for _, case in pairs]),
            edits=self._interventions.edits(self._rows(pairs)),
            max_new_tokens=self._tokens,
            stop=self._stops,
        )
        return {(each.number, case.number): text for (each, case), text in zip(pairs, made.texts or [], strict=True)}

    def _forced(self, pairs: Sequence[tuple[Condition, Case]]) -> dict[tuple[int, int], dict[str, float]]:
        if not pairs:
            return {}
        model = self._subject.model
        batch = model.encode([case.prompt_ids + case.forced for _, case in pairs], pad="right")
        site = model.find("resid_post.*")[-1].name
        run = model.run(batch, capture=site, edits=self._interventions.edits(self._rows(pairs)), logits=None)
        row = [i for i, (_, case) in enumerate(pairs) for _ in case.forced]
        column = [len(case.prompt_ids) - 1 + i for _, case in pairs for i in range(len(case.forced))]
        wanted = torch.tensor([token for _, case in pairs for token in case.forced])
        scored = _scored_tokens(model, run[site][row, column], wanted).tolist()
        ends = list(accumulate(len(case.forced) for _, case in pairs))
        return {
            (each.number, case.number): _summed(case, scored[end - len(case.forced) : end])
            for (each, case), end in zip(pairs, ends, strict=True)
        }


def _scored_tokens(model: actkit.Model, resid: Float[Tensor, "S D"], wanted: Int[Tensor, " S"]) -> Float[Tensor, "S 2"]:
    """Log-probability and log-odds of each wanted token, from the last residual stream; some positions at a time.

    The odds, p against all other tokens together, still move where p is 1 to all digits.
    """
    parts: list[Tensor] = []
    for at, ids in zip(resid.split(_AT_ONCE), wanted.to(resid.device)[:, None].split(_AT_ONCE), strict=True):
        logits = model.unembed(at).float()
        mine, ids = logits.gather(-1, ids.to(logits.device)), ids.to(logits.device)
        others = logits.scatter(-1, ids, float("-inf")).logsumexp(-1, keepdim=True)
        parts.append(torch.cat([-torch.nn.functional.softplus(others - mine), mine - others], dim=-1).cpu())
    return torch.cat(parts)


_NAMES = {"answer": "gold"}


def _summed(case: Case, scored: Sequence[Sequence[float]]) -> dict[str, float]:
    """By group: log-probabilities summed, log-odds as the sum over equations of their tokens' mean; tokens of the rest.

    Of the rest, where every token stands for itself, both are sums.
    """
    told: dict[str, float] = {}
    for group in dict.fromkeys(case.groups):
        name = _NAMES.get(group[0], group[0])
        mine = [pair for pair, its in zip(scored, case.groups, strict=True) if its == group]
        logp, odds = (sum(column) for column in zip(*mine, strict=True))
        odds = odds if name == "rest" else odds / len(mine)
        count = "rest" if name == "rest" else f"forced_{name}"
        for key, value in ((f"logp_{name}", logp), (f"odds_{name}", odds)):
            told[key] = told.get(key, 0.0) + value
        told[count] = told.get(count, 0) + (len(mine) if name == "rest" else 1)
    told.pop("forced_gold", None)
    return told


def _scored(case: Case, text: str | None) -> dict[str, Any]:
    """How a written text compares with the gold answer and the gold equations."""
    if text is None:
        return {}
    score = answers.score(text, answers.parse_gold(case.gold))
    written = [(each.operators[0], each.value, each.holds)
               for each in equations(answers.until_next_question(text)) if each.operators]  # fmt: skip
    truths = {(operator, value) for operator, value, holds in written if holds}
    counts: dict[str, Any] = {}
    for sign in OPERATORS:
        gold = [value for operator, value in case.gold_equations if operator == sign]
        mine = [holds for operator, _, holds in written if operator == sign]
        counts |= {f"gold_{sign}": len(gold), f"solved_{sign}": sum((sign, value) in truths for value in gold)}
        counts |= {f"written_{sign}": len(mine), f"true_{sign}": sum(mine)}
    told = {name: getattr(score, name) for name in ("correct_strict", "correct_flexible", "no_answer")}
    return {"text": text, **told, **counts}
