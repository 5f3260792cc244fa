"""What the commands for whoever runs the service share: the database itself, without a service that runs."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gql_imgproc.database import migrations
from gql_imgproc.database.engine import Database
from gql_imgproc.settings import load

T = TypeVar("T")


def run_with_database(work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """Runs `work` with the service's database. Raises ConfigurationError when the database cannot be used."""
    url = load().database
    migrations.check(url)
    database = Database(url)
    try:
        return asyncio.run(work(database))
    except migrations.UNUSABLE as error:
        raise migrations.connection_error(url, error) from None
    finally:
        database.close()


def user() -> str:
    """Who types, for the audit log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user often has no name.
        return str(os.getuid()) if sys.platform != "win32" else "unknown"


def show(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """A table for people; for a file or another program one line each, with tabs, nothing cut off."""
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
    """In UTC, which stands elsewhere."""
    return f"{value:%Y-%m-%d %H:%M}" if value else "-"
