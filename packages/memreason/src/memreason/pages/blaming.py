"""The section on errors: what wrong answers are blamed on, by whom, and what that judge is worth."""

from collections.abc import Iterator
from typing import Any

import polars as pl
from runkit.page.document import picture
from runkit.page.markup import Child, Markup, cell, element, note, prose, table
from runkit.page.numbers import NONE, count, real, share, spanned_share

from memreason.judging import agreement
from memreason.judging.case import CHECKER
from memreason.judging.shares import BLAMES, Share, blamed, kept
from memreason.pages import paper
from memreason.pages.evidence import Blamed, Evidence
from memreason.pages.runs_read import figures
from memreason.trace import KINDS

_HEADS = {
    "memory": "memory failed", "reason": "reasoning failed", "format": "no usable form", "none": "nothing wrong"
}  # fmt: skip


def errors(evidence: Evidence) -> list[Markup]:
    """Blame and decoupling of every run of errors; agreement where both checker and LLM judged."""
    parts: list[Markup] = [
        prose(
            "What went wrong first in each wrong answer: a fact was false or missing, or a conclusion did not follow. "
            "The exact checker knows, on toy worlds; elsewhere a language model judges."
        )
    ]
    rows = [row for each in evidence.blamed for row in _rows(each)]
    judged = [judge for each in evidence.blamed for judge in _judges(each)]
    if judged:
        parts.append(table(["answers of", "judge", "judged", *_HEADS.values(), "no verdict"], rows, id="blame"))
    decoupled = [row for each in evidence.blamed for row in _kept(each)]
    if decoupled:
        head = ["answers of", "judge", "memory steps that state a fact", "reasoning steps that infer"]
        parts.append(table(head, decoupled, id="decoupling"))
    parts += _agreements(evidence)
    parts += [picture(png, f"{each.name}: {name}.") for each in evidence.blamed for name, png in _drawn(each)]
    return [*parts, note("Intervals: Wilson, 95 %. Verdicts that a judge did not give are left out."), paper.judged()]


def worth(run: Blamed) -> dict[str, float]:
    """How far an LLM agrees with the exact checker; empty where only one of them judged."""
    both = len(set(run.blame["judge"]) | set(run.decoupling["judge"])) > 1
    return agreement.measures(run.blame, run.decoupling) if both else {}


def _drawn(run: Blamed) -> Iterator[tuple[str, bytes]]:
    names = {"errors": "what wrong answers are blamed on, and whether steps are what they are called"}
    yield from ((names.get(name, name), png) for name, png in figures(run.folder).items())


def _judges(run: Blamed) -> list[str]:
    return list(dict.fromkeys([*run.blame["judge"], *run.decoupling["judge"]]))


def _rows(run: Blamed) -> Iterator[list[Child]]:
    for judge in _judges(run):
        of_it = run.blame.filter(judge=judge)
        shares = blamed(of_it)
        told = [_share(shares.get(name)) for name in BLAMES]
        lost = len(of_it.filter(pl.col("status") != "ok"))
        yield [run.name, _judge(judge), f"{len(of_it):,}", *(cell(each, class_="num") for each in told), f"{lost:,}"]


def _kept(run: Blamed) -> Iterator[list[Child]]:
    for judge in _judges(run):
        shares = kept(run.decoupling.filter(judge=judge))
        if shares:
            yield [run.name, _judge(judge), *(cell(_share(shares.get(kind)), class_="num") for kind in KINDS)]


def _agreements(evidence: Evidence) -> list[Markup]:
    rows: list[list[Child]] = []
    for run in evidence.blamed:
        told = worth(run)
        for about, what in (("blame", "what went wrong first"), ("content", "what a step is")):
            name = f"agreement/{about}"
            if name in told:
                ends = spanned_share(told[f"{name}_low"], told[f"{name}_high"])
                kappa = real(told.get(f"{name}_kappa"))
                rows.append([run.name, what, f"{told[f'{name}_n']:,.0f}", share(told[name]), ends, kappa])
    if not rows:
        return []
    head = ["answers of", "verdicts on", "both judged", "agree", "95 %", "κ"]
    words = "κ (Cohen): agreement beyond chance, 1 at most; – where one of the two says the same of all."
    return [element("h3", "What the judge is worth"), table(head, rows, id="agreement"), note(words)]


def _share(found: Share | None) -> str:
    return NONE if found is None else f"{found.hits:,} ({share(found.value)} {spanned_share(found.low, found.high)})"


def _judge(name: str) -> str:
    return "exact checker" if name == CHECKER else name


def sentence(run: Blamed) -> str | None:
    """What wrong answers come from, in a sentence."""
    for judge in _judges(run):
        shares: dict[str, Any] = blamed(run.blame.filter(judge=judge))
        if shares:
            told = ", ".join(f"{shares[name].hits} {_HEADS[name]}" for name in BLAMES if shares[name].hits)
            known = {name: value for name, value in worth(run).items() if name == "agreement/blame"}
            also = "".join(f" An LLM that judges says the same in {share(value)}." for value in known.values())
            n = count(next(iter(shares.values())).n, "wrong answer")
            who = "the exact checker" if judge == CHECKER else judge
            return f"Attribution: of {n} of {run.name}, by {who}: {told}.{also}"
    return None
