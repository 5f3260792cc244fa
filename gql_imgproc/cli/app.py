"""All commands, and the options that come before a command."""

from __future__ import annotations

from typing import Annotated

import typer

from gql_imgproc import __version__
from gql_imgproc.cli import admin, client, compress, keys, requests, serve, tenants
from gql_imgproc.cli.quick_group import QuickGroup

app = typer.Typer(
    name="gql-imgproc",
    cls=QuickGroup,
    no_args_is_help=True,
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


@app.callback(
    epilog="Exit status: 0 done, 1 refused or failed, 2 usage, 3 some images failed, 4 service unreachable, "
    "130 interrupted. Documentation: docs/COMMANDS.md"
)
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Compress the images of product catalogues: files on this machine, or the URLs in a CSV file.

    \b
    Examples:
      gql-imgproc compress photos/ --output small/    compress files, without any service
      gql-imgproc demo                                try the whole service with sample images
      gql-imgproc up                                  run the service on this machine
      gql-imgproc submit products.csv                 compress the images of a catalogue with it
      gql-imgproc list                                list the catalogues that were sent to it
    """


for group in (compress, client, requests, serve, keys, tenants, admin):
    group.register(app)
