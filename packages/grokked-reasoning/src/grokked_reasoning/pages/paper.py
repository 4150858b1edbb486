"""The paper's numbers beside ours. Numbers: Wang et al. (2024), text and tables (its figures give none)."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from runkit.page.markup import Markup, note, prose, table
from runkit.page.numbers import NONE, real, share

from grokked_reasoning.pages.evidence import Setting, Trained
from grokked_reasoning.pages.spread import over, steps, times


class Claim(NamedTuple):
    """What the paper reports, and how the same is told of our settings."""

    what: str
    paper: str
    task: str
    number: Callable[[Trained], float | None]
    how: Callable[[float], str] = real
    looped: bool | None = False
    """Of looped models, of plain ones, or (None) of both."""


def _hard(run: Trained) -> float | None:
    found = run.last.filter(type="test_hard")["accuracy"]
    return float(found[0]) if len(found) else None


CLAIMS = (
    Claim(
        "composition: step at which training facts are fitted (≥ 99 %)", "≈ 14,000 (φ 7.2)", "composition",
        lambda run: run.event("fitted"), steps,
    ),
    Claim(
        "composition: ID accuracy at that step", "9.2 % at most before it (φ 7.2); 96.7 % (φ 18)", "composition",
        lambda run: run.event("fitted", "id_accuracy"), share,
    ),
    Claim(
        "composition: steps to ID grokking, as a multiple of the steps to fit", "≈ 50 (φ 7.2, near-perfect ID)",
        "composition", lambda run: run.delay, times,
    ),
    Claim(
        "composition: OOD accuracy", "0, after 2 million steps too", "composition",
        lambda run: run.final("ood"), share,
    ),
    Claim(
        "composition, layers shared: OOD accuracy", "rises late (a figure only; others’ runs: 26 to 81 %)",
        "composition", lambda run: run.final("ood"), share, looped=True,
    ),
    Claim("comparison: ID accuracy", "groks (a figure only)", "comparison", lambda run: run.final("id"), share, None),
    Claim("comparison: OOD accuracy", "groks (a figure only)", "comparison", lambda run: run.final("ood"), share, None),
    Claim("complex reasoning: hard test", "99.3 % of 150", "complex-reasoning", _hard, share, None),
)  # fmt: skip
SIZES = (
    "Sizes differ, and so may everything else: the paper has 2,000 entities, 200 relations and 40,000 atomic facts "
    "(composition), 1,000 entities and 20 attributes (comparison), 8 layers of width 768, batches of 512, a learning "
    "rate of 1e-4, and up to 2 million steps; ours are in the first table. It calls grokked what is near-perfect. "
    "“Others’ runs”: a third party’s notes (zhusq20/llm-memory-editability, not reviewed), at the paper’s size."
    " So numbers here neither confirm nor refute the paper’s; they show whether the same happens in small."
)


def against(settings: Sequence[Setting]) -> list[Markup]:
    """A row per claim of the paper, with what the settings of that task came to."""
    rows = [[claim.what, claim.paper, _here(claim, settings)] for claim in CLAIMS]
    lead = "What the paper reports, and the same of the runs on this page: median (least to most) over runs."
    return [prose(lead), table(["what", "paper", "here"], rows, id="paper", class_="long"), note(SIZES)]


def _here(claim: Claim, settings: Iterable[Setting]) -> str:
    fits = [
        each for each in settings if each.one.task == claim.task and claim.looped in (None, each.one.options.loops > 1)
    ]
    return "; ".join(f"{_short(each)}: {over(each, claim.number, claim.how)}" for each in fits) or NONE


def _short(setting: Setting) -> str:
    """The setting without its task, with φ where the world has one."""
    phi = setting.one.sizes.get("phi")
    name = setting.name.removeprefix(f"{setting.one.task}, ")
    return f"{name}, φ {phi:g}" if phi else name
