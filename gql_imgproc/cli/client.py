"""Commands that talk to a running service: `submit`, `listen`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from gql_imgproc.settings import load


def register(app: typer.Typer) -> None:
    app.command()(submit)
    app.command()(listen)
    app.command()(demo)


def submit(
    file: Annotated[Path, typer.Argument(help="CSV file of products.")],
    url: Annotated[str, typer.Option(help="Address of the service.")] = "http://127.0.0.1:8000",
    webhook: Annotated[str | None, typer.Option(help="Address that is told of the end.")] = None,
    wait: Annotated[bool, typer.Option(help="Show the progress until the end, and save the output CSV.")] = True,
    output: Annotated[
        Path | None, typer.Option(help="Where to save the output CSV.", show_default="FILE-output.csv")
    ] = None,
) -> None:
    """Upload a CSV file: exit status 0 when all images are done, 3 when some failed, 1 when refused or failed.

    A service that asks for an API key gets that of IMGPROC_API_KEY, from the environment or `.env`.
    """
    from gql_imgproc.standalone.submit import submit as run

    output = output or Path(f"{file.stem}-output.csv")
    # Not an option: what stands in a command is seen by all users of the machine, and kept in the shell's history.
    api_key = load().api_key
    key = api_key.get_secret_value() if api_key else None
    raise typer.Exit(asyncio.run(run(url, file, webhook_url=webhook, output=output if wait else None, key=key)))


def listen(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 8899,
    secret: Annotated[str | None, typer.Option(help="`whsec_…`, to check signatures with.")] = None,
) -> None:
    """Receive webhooks on this machine: check the signature and print each event."""
    from gql_imgproc.standalone.webhook_receiver import listen as run

    run(port, secret)


def demo(
    leave: Annotated[
        bool, typer.Option("--exit", help="End after the result; the default without a terminal.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder that keeps everything.", show_default="./data/demo-TIME")
    ] = None,
) -> None:
    """Compress 30 sample pictures through the whole service, with Redis and all embedded."""
    from gql_imgproc.standalone.demo import run

    leave = leave or not sys.stdin.isatty()
    raise typer.Exit(asyncio.run(run(leave=leave, folder=data_dir)))
