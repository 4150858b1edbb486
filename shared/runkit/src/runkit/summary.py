"""The table a stage shows at its end."""

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table


def print_summary(title: str, values: Mapping[str, object]) -> None:
    """Print names and values; numbers with up to six significant digits. Nothing where there is nothing to show."""
    if not values:
        return
    table = Table(title=title, box=box.SIMPLE, show_header=False, title_justify="left")
    table.add_column(style="bold")
    numbers = any(isinstance(each, float | int) for each in values.values())
    table.add_column(justify="right" if numbers else "left", overflow="fold")  # a path that is cut off is of no use
    for name, value in values.items():
        table.add_row(name, f"{value:.6g}" if isinstance(value, float) else str(value))
    Console(soft_wrap=True).print(table)
