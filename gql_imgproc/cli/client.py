"""Client commands: `submit`, `listen`, `demo`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gql_imgproc.cli.option_groups import OutputOptions, with_option_groups
from gql_imgproc.cli.output import print_json
from gql_imgproc.cli.service import ServiceOptions, Yes
from gql_imgproc.cli.upload_options import CatalogueImageOptions, FileOptions, RequestOptions, ResultOptions

if TYPE_CHECKING:
    from gql_imgproc.client import AsyncClient, Estimate, Request


ProductFile = Annotated[
    Path,
    typer.Argument(help="Product export of a shop, or CSV or Excel file of products, to upload; - is standard input."),
]
Estimated = Annotated[
    bool, typer.Option("--estimate", help="Only measure a sample of the images, and print what would be saved.")
]


def register(app: typer.Typer) -> None:
    app.command()(submit)
    app.command()(listen)
    app.command()(demo)


@with_option_groups
def submit(
    file: ProductFile,
    *,
    service: ServiceOptions,
    result: ResultOptions,
    table: FileOptions,
    images: CatalogueImageOptions,
    settings: RequestOptions,
    estimate: Estimated = False,
    yes: Yes = False,
    printed: OutputOptions,
) -> None:
    """Upload a file of products, show the progress, and save the file with the new image URLs.

    \b
    Examples:
      gql-imgproc submit products.csv
      gql-imgproc submit shopify-export.csv --quality 70 --format webp
      gql-imgproc submit products.csv --output-variant name=full --output-variant name=thumb,format=WEBP,max-width=200
      gql-imgproc submit shopify-export.csv --quality 70 --estimate
      gql-imgproc submit list.csv --image-column Photo --name-column Title
      export.sh | gql-imgproc submit - --output new.csv --url https://images.example

    Ctrl-C leaves the request running, and a second Ctrl-C asks whether to cancel it. The exit status is 0 if all
    images are done, 3 if some failed, and 1 if the upload was refused or the request failed.

    If the service requires an API key, set IMGPROC_API_KEY or IMGPROC_API_KEY_FILE in the environment or in `.env`.
    """
    from gql_imgproc.standalone import submit as submission
    from gql_imgproc.standalone.terminal import EXIT_STATUS

    arguments = {"options": images.to_input(), **table.to_arguments()}
    if estimate:
        _print_estimate(service, file, arguments, printed)
        return
    out, err = printed.consoles()

    async def work(client: AsyncClient) -> Request:
        upload = partial(client.upload, **arguments, **settings.to_arguments())
        with printed.refusals():
            return await submission.submit(client, file, upload, output=result.path(file), out=out, err=err)

    request = service.follow(work, yes=yes)
    printed.print_json(request)
    raise typer.Exit(EXIT_STATUS.get(request.status, 1) if result.wait else 0)


def _print_estimate(service: ServiceOptions, file: Path, arguments: dict[str, Any], printed: OutputOptions) -> None:
    from gql_imgproc.standalone import submit as submission

    async def work(client: AsyncClient) -> Estimate:
        with printed.refusals():
            return await submission.estimate(file, partial(client.estimate, **arguments), printed.consoles()[0])

    found = service.run(work)
    if printed.json:
        print_json(asdict(found))


def listen(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 8899,
    secret: Annotated[
        str | None,
        typer.Option(
            help="Webhook secret (`whsec_…`) to verify signatures with. Prefer the setting: all users of a machine can "
            "see command lines.",
            show_default="IMGPROC_WEBHOOK_SECRET",
        ),
    ] = None,
) -> None:
    """Receive webhooks on this machine, verify their signatures and print each event.

    \b
    Examples:
      export IMGPROC_WEBHOOK_SECRET=whsec_…
      IMGPROC_FETCH_ALLOW_NETWORKS=127.0.0.0/8 IMGPROC_FETCH_ALLOW_PORTS='*' gql-imgproc up
      # In another terminal, with the same secret
      gql-imgproc listen
      gql-imgproc submit products.csv --webhook http://127.0.0.1:8899/
    """
    from gql_imgproc.settings import load
    from gql_imgproc.standalone.webhook_receiver import listen as run_receiver

    if secret is None and (setting := load().webhook_secret):
        secret = setting.get_secret_value()
    run_receiver(port, secret)


def demo(
    exit_after_result: Annotated[
        bool, typer.Option("--exit", help="Exit after printing the result; the default without a terminal.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for the demo's database and files.", show_default="./data/demo-TIME")
    ] = None,
) -> None:
    """Compress 30 sample images through the whole service, with an embedded Redis.

    \b
    Examples:
      gql-imgproc demo
      gql-imgproc demo --exit --data-dir /tmp/demo
    """
    import asyncio

    from gql_imgproc.standalone.demo import run

    exit_after_result = exit_after_result or not sys.stdin.isatty()
    raise typer.Exit(asyncio.run(run(exit_after_result=exit_after_result, folder=data_dir)))
