"""The command that shows it all: `demo`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    leave: Annotated[
        bool, typer.Option("--exit", help="End after the result; the default without a terminal.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder that keeps everything.", show_default="./data/demo-TIME")
    ] = None,
) -> None:
    """Compress 30 sample pictures through the whole service, with Redis and all embedded."""
    from gql_imgproc.local.demo import run

    leave = leave or not sys.stdin.isatty()
    raise typer.Exit(asyncio.run(run(leave=leave, folder=data_dir)))
