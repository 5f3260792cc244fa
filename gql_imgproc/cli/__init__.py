"""The command line: each command reads its arguments, calls one function and prints the result.

Commands import what they need when they run, so that each starts quickly.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gql_imgproc import __version__
from gql_imgproc.cli import admin, client, keys, serve, tenants
from gql_imgproc.errors import ImgprocError

app = typer.Typer(
    name="gql-imgproc",
    help="Upload product CSVs over GraphQL; every image is downloaded, compressed and stored.",
    no_args_is_help=True,
    add_completion=False,
    # Unexpected errors keep their plain traceback; `main` prints expected errors in one line.
    pretty_exceptions_enable=False,
    # Help with colours and frames takes 0.3 s to import.
    rich_markup_mode=None,
    context_settings={"max_content_width": 120},
)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"gql-imgproc {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


for group in (serve, client, keys, tenants, admin):
    group.register(app)


def main() -> None:
    """Entry point of `gql-imgproc`. Expected errors print one line and exit with status 1."""
    try:
        app()
    except ImgprocError as error:
        # Messages of database drivers can have several lines.
        typer.echo(f"gql-imgproc: {' '.join(str(error).split())}", err=True)
        sys.exit(1)
