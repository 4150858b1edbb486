"""The text that MLflow shows first of a run: what was found, where to look, and the command that makes it again."""

from collections.abc import Iterable, Mapping
from html import escape


def note(found: Mapping[str, object], command: str, files: Iterable[str]) -> str:
    """Markdown: a table of what was found, the pages and figures among `files`, the command."""
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in found.items()]
    table = "\n".join(["| found | |", "|---|---|", *rows]) if rows else ""
    shown = [f"`{name}`" for name in files if name.endswith((".html", ".png"))]
    look = f"Under *Artifacts*: {', '.join(shown)}" if shown else ""
    return "\n\n".join(part for part in (table, look, f"Made by\n\n```sh\n{command}\n```") if part)


def _cell(value: object) -> str:
    """One line that ends no column and starts no tag: results may hold words of models and data."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return escape(" ".join(text.split()), quote=False).replace("|", "\\|")
