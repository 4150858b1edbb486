"""What a stage says at its end."""

from collections.abc import Mapping

import typer


def print_summary(title: str, values: Mapping[str, object]) -> None:
    """Print names and values; numbers with up to six significant digits. Nothing where there is nothing to show."""
    if not values:
        return
    said = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    numbers = {name for name, value in values.items() if isinstance(value, float | int)}
    names, wide = max(map(len, said)), max((len(said[name]) for name in numbers), default=0)
    typer.secho(title, italic=True)
    for name, text in said.items():
        lines = text.rjust(wide if name in numbers else 0).replace("\n", "\n" + " " * (names + 4))
        typer.echo(f"  {typer.style(name.ljust(names), bold=True)}  {lines}")
