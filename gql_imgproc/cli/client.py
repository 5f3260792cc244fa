"""Client commands: `submit`, `listen`, `demo`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command()(submit)
    app.command()(listen)
    app.command()(demo)


def submit(
    file: Annotated[Path, typer.Argument(help="CSV file of products to upload.")],
    url: Annotated[str, typer.Option(help="URL of the service.")] = "http://127.0.0.1:8000",
    webhook: Annotated[str | None, typer.Option(help="Webhook URL to call when the request finishes.")] = None,
    wait: Annotated[bool, typer.Option(help="Show progress until the end, then save the output CSV.")] = True,
    output: Annotated[
        Path | None, typer.Option(help="File to save the output CSV to.", show_default="FILE-output.csv")
    ] = None,
) -> None:
    """Upload a CSV file. Exit status: 0 all images done, 3 some failed, 1 upload refused or request failed.

    If the service requires an API key, set IMGPROC_API_KEY in the environment or in `.env`.
    """
    from gql_imgproc.settings import load
    from gql_imgproc.standalone.submit import submit as run_submit

    output = output or Path(f"{file.stem}-output.csv")
    # Not an option: all users of the machine can see command lines, and shells keep them in their history.
    api_key = load().api_key
    key = api_key.get_secret_value() if api_key else None
    raise typer.Exit(asyncio.run(run_submit(url, file, webhook_url=webhook, output=output if wait else None, key=key)))


def listen(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 8899,
    secret: Annotated[str | None, typer.Option(help="Webhook secret (`whsec_…`) to verify signatures with.")] = None,
) -> None:
    """Receive webhooks on this machine, verify their signatures and print each event."""
    from gql_imgproc.standalone.webhook_receiver import listen as run_receiver

    run_receiver(port, secret)


def demo(
    exit_after_result: Annotated[
        bool, typer.Option("--exit", help="Exit after printing the result; the default without a terminal.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for the demo's database and files.", show_default="./data/demo-TIME")
    ] = None,
) -> None:
    """Compress 30 sample images through the whole service, with an embedded Redis."""
    from gql_imgproc.standalone.demo import run

    exit_after_result = exit_after_result or not sys.stdin.isatty()
    raise typer.Exit(asyncio.run(run(exit_after_result=exit_after_result, folder=data_dir)))
