"""Tables, JSON and times on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_rows(titles: Mapping[str, str], rows: Iterable[Mapping[str, object]], *, as_json: bool) -> None:
    """Prints the fields that have a title: as a table on a terminal, else with tabs. As JSON, prints all fields."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if as_json:
        print_json([*rows])
        return
    console = Console(highlight=False)
    cells = [[_format_cell(row[name]) for name in titles] for row in rows]
    if not console.is_terminal:
        for line in (titles.values(), *cells):
            typer.echo("\t".join(line))
        return
    table = Table()
    for title in titles.values():
        table.add_column(title, overflow="fold")
    for line in cells:
        table.add_row(*map(Text, line))
    console.print(table)


def print_json(value: object) -> None:
    """Prints JSON with the names of the GraphQL schema."""
    typer.echo(json.dumps(_to_json(value), indent=2, ensure_ascii=False))


def _to_json(value: object) -> object:
    if isinstance(value, Mapping):
        return {_to_camel(name): _to_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _to_camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _format_cell(value: object) -> str:
    if value is None or isinstance(value, datetime):
        return format_time(value)
    return " ".join(value) if isinstance(value, list) else str(value)


def format_time(value: datetime | None) -> str:
    """Formats a UTC time. The column title names the zone."""
    return f"{value:%Y-%m-%d %H:%M}" if value else "-"
