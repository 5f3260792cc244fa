"""Tables, JSON and times on standard output, and files that a command writes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, TextIO

import typer

from gql_imgproc.errors import ImgprocError, UsageError

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
    from pydantic.alias_generators import to_camel

    if isinstance(value, Mapping):
        return {to_camel(name): _to_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _format_cell(value: object) -> str:
    if value is None or isinstance(value, datetime):
        return format_time(value)
    return " ".join(value) if isinstance(value, list) else str(value)


def format_time(value: datetime | None) -> str:
    """Formats a UTC time. The column title names the zone."""
    return f"{value:%Y-%m-%d %H:%M}" if value else "-"


@contextmanager
def new_file(name: str) -> Iterator[TextIO]:
    """Opens a file that does not exist yet, or standard output for `-`. A file is complete and durable, or deleted."""
    path = None if name == "-" else Path(name)
    try:
        out = sys.stdout if path is None else path.open("x", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"Cannot create {name}: {error.strerror}. Choose another name") from None
    try:
        yield out
        out.flush()
        if path is not None:
            os.fsync(out.fileno())
            out.close()
    except BaseException as error:
        if path is not None:
            with suppress(OSError):
                out.close()
            path.unlink()
        if isinstance(error, OSError):
            raise ImgprocError(f"Cannot write {name}: {error.strerror or error}. Correct that, and try again") from None
        raise
