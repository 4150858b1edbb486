"""What a stage says at its end."""

from collections.abc import Mapping

import typer


def print_summary(title: str, values: Mapping[str, object]) -> None:
    """Print names and values; numbers with up to six significant digits. Nothing where there is nothing to show."""
    if not values:
        return
    said = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    numbers = any(isinstance(value, float | int) for value in values.values())
    names, texts = max(map(len, said)), max(map(len, said.values())) if numbers else 0
    typer.secho(title, italic=True)
    for name, text in said.items():
        typer.echo(f"  {typer.style(name.ljust(names), bold=True)}  {text.rjust(texts)}")
