"""The command line: each command reads its arguments, calls one function and prints the result.

Commands import what they need when they run, so that each starts quickly.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of `gql-imgproc`. Expected errors print one line and exit with the status of the error."""
    if sys.argv[1:] == ["--version"]:
        # Needs no other import.
        from gql_imgproc import __version__

        sys.stdout.write(f"gql-imgproc {__version__}\n")
        sys.exit()
    import typer

    from gql_imgproc.cli.app import app
    from gql_imgproc.errors import ImgprocError

    try:
        app()
    except ImgprocError as error:
        # Messages of database drivers can have several lines.
        typer.echo(f"gql-imgproc: {' '.join(str(error).split())}", err=True)
        sys.exit(error.exit_status)
