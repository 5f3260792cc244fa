"""The command line: reads arguments, calls one function, tells the outcome."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gql_imgproc import __version__
from gql_imgproc.cli import admin, client, keys, serve, tenants
from gql_imgproc.errors import ImgprocError

app = typer.Typer(
    name="gql-imgproc",
    help="Upload a CSV of products over GraphQL; every picture is fetched, compressed and stored.",
    no_args_is_help=True,
    add_completion=False,
    # A fault of ours is for the log, as it is; what is foreseen is told in one line by `main`.
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gql-imgproc {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    pass


for room in (serve, client, keys, tenants, admin):
    room.register(app)


def main() -> None:
    """Entry of `gql-imgproc`: exit status 1 and one line for whatever was foreseen."""
    try:
        app()
    except ImgprocError as error:
        # What a driver said may have several lines.
        typer.echo(f"gql-imgproc: {' '.join(str(error).split())}", err=True)
        sys.exit(1)
