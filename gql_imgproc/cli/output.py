"""Tables and times on standard output."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import typer


def print_table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Prints a table on a terminal; otherwise one line of tab-separated cells per row."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        for row in (titles, *rows):
            typer.echo("\t".join(row))
        return
    table = Table()
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def format_time(value: datetime | None) -> str:
    """Formats a UTC time. The column title names the zone."""
    return f"{value:%Y-%m-%d %H:%M}" if value else "-"
