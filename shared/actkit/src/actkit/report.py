"""What `actkit.check` found: one line per promise, as data, as text, and as a table on a terminal."""

from dataclasses import dataclass
from io import StringIO
from typing import Any, Literal, NamedTuple

Verdict = Literal["holds", "fails", "refused", "skipped"]
_STYLE = {"holds": "green", "fails": "bold red", "refused": "yellow", "skipped": "dim"}


class Line(NamedTuple):
    """One promise on one model."""

    promise: str
    verdict: Verdict
    measured: str
    """The number found, with what it was held against; "" where nothing was measured."""
    reason: str
    """Why the promise was refused or skipped, or how it failed."""


@dataclass(frozen=True)
class Report:
    """Every promise on one model. True where all that apply hold.

    `known`: whether the architecture has a row in the table; else `verified` and `unverified` say, in words, what the
    test forward showed of each fact.
    """

    model: str
    family: str
    dtype: str
    known: bool
    lines: tuple[Line, ...]
    verified: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not any(line.verdict == "fails" for line in self.lines)

    def __str__(self) -> str:
        from rich.console import Console

        out = StringIO()
        self.show(Console(file=out, width=120, force_jupyter=False))  # rich would go around `file` in a notebook
        return out.getvalue()

    def show(self, console: Any) -> None:
        """Print to a rich console."""
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(f"{self.model} · {self.family} · {self.dtype}"), title_justify="left")
        for column in ("promise", "verdict", "measured", "why"):
            table.add_column(column, overflow="fold")
        for line in self.lines:
            style = _STYLE[line.verdict]
            table.add_row(line.promise, f"[{style}]{line.verdict}[/]", line.measured, escape(line.reason))
        console.print(table)
        if not self.known:
            console.print("This architecture has no row in actkit's table; its parts were found by a test forward.")
            for head, facts in (("Verified", self.verified), ("Could not be verified", self.unverified)):
                console.print(
                    f"{head}:", *(f"\n  - {fact}" for fact in facts or ("nothing",)), highlight=False, markup=False
                )
        failed = [line.promise for line in self.lines if line.verdict == "fails"]
        console.print(f"does not hold: {', '.join(failed)}" if failed else "all promises that apply hold", markup=False)
