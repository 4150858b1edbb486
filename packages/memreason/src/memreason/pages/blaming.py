"""The section on errors: what wrong answers are blamed on, by whom, and what that judge is worth."""

from collections.abc import Iterator

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
            "The exact checker knows, on toy worlds; elsewhere a language model judges. To the checker a missing fact "
            "takes precedence: where a fact that is needed is stated nowhere, a conclusion that does not follow is "
            "blamed on memory, and the step named is that conclusion."
        )
    ]
    rows = [row for each in evidence.blamed for row in _rows(each)]
    if rows:
        head = ["answers of", "to", "judge", "judged", *_HEADS.values(), "no verdict"]
        parts.append(table(head, rows, id="blame"))
    decoupled = [row for each in evidence.blamed for row in _kept(each)]
    if decoupled:
        head = ["answers of", "to", "judge", "memory steps that state a fact", "reasoning steps that infer"]
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


def _rows(run: Blamed) -> Iterator[list[Child]]:
    for (place, judge), rows in _groups(run, run.blame):
        shares = blamed(rows)
        told = [_share(shares.get(name)) for name in BLAMES]
        lost = len(rows.filter(pl.col("status") != "ok"))
        numbers = (cell(each, class_="num") for each in told)
        yield [run.name, place, _judge(judge), f"{len(rows):,}", *numbers, f"{lost:,}"]


def _kept(run: Blamed) -> Iterator[list[Child]]:
    for (place, judge), rows in _groups(run, run.decoupling):
        if shares := kept(rows):
            yield [run.name, place, _judge(judge), *(cell(_share(shares.get(kind)), class_="num") for kind in KINDS)]


def _groups(run: Blamed, frame: pl.DataFrame) -> Iterator[tuple[tuple[str, str], pl.DataFrame]]:
    """Verdicts by place and judge; where the answers are not on this page, it is not known where they were asked."""
    place = pl.concat_str("dataset", "split", separator=" ").alias("place")
    unknown = frame.select("id", place=pl.lit(NONE)).unique()
    placed = frame.join(run.of.answers.select("id", place) if run.of else unknown, on="id", maintain_order="left")
    for (asked, judge), rows in placed.group_by("place", "judge", maintain_order=True):
        yield (str(asked), str(judge)), rows


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
    return "the exact checker" if name == CHECKER else name


def sentences(run: Blamed) -> Iterator[str]:
    """What wrong answers come from: by the exact checker where there is one, and how far an LLM says the same."""
    judges = dict.fromkeys(run.blame["judge"])
    trusted = CHECKER if CHECKER in judges else next(iter(judges), None)
    for (place, judge), rows in _groups(run, run.blame):
        if judge == trusted and (shares := blamed(rows)):
            told = ", ".join(f"{shares[name].hits} {_HEADS[name]}" for name in BLAMES if shares[name].hits)
            asked = count(next(iter(shares.values())).n, "wrong answer")
            yield f"Attribution, {place}: of {asked} of {run.name}, by {_judge(judge)}: {told}."
    agreed = worth(run).get("agreement/blame")
    if agreed is not None:
        yield f"The LLM that judges {run.name} blames as the exact checker does in {share(agreed)}."
