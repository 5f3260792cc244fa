"""Client commands: `submit`, `listen`, `demo`."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from gql_imgproc.cli.option_groups import ImageOptions, OutputOptions, Outputs, with_option_groups
from gql_imgproc.cli.output import print_json
from gql_imgproc.cli.service import ServiceOptions, Yes
from gql_imgproc.enums import CsvProfile, InvalidRowPolicy, Priority
from gql_imgproc.errors import UsageError
from gql_imgproc.imaging.options import DEFAULT, Options

if TYPE_CHECKING:
    from gql_imgproc.client import AsyncClient, Estimate, Request


def register(app: typer.Typer) -> None:
    app.command()(submit)
    app.command()(listen)
    app.command()(demo)


def _parse_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise typer.BadParameter(f"{text} is not an http or https URL. Use a URL such as https://shop.example/hook")
    return text


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How a file of products is read."""

    profile: Annotated[
        CsvProfile | None,
        typer.Option(help="Shop that the file is from.", show_default="recognized", case_sensitive=False),
    ] = None
    image_column: Annotated[
        list[str] | None,
        typer.Option(help="Column with image URLs, of a file that is not recognized; repeat it for several."),
    ] = None
    name_column: Annotated[str | None, typer.Option(help="Column with product names; requires --image-column.")] = None
    id_column: Annotated[str | None, typer.Option(help="Column that identifies products; requires --image-column.")] = (
        None
    )
    on_invalid_row: Annotated[
        InvalidRowPolicy | None,
        typer.Option(help="Refuse the file, or skip the row.", show_default="by profile", case_sensitive=False),
    ] = None
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of the file, such as windows-1251.", show_default="detected")
    ] = None
    sheet: Annotated[
        str | None, typer.Option(help="Sheet of a workbook to read.", show_default="the first visible one")
    ] = None

    def columns(self) -> dict[str, Any] | None:
        """The `CsvColumnsInput`. Raises UsageError."""
        if self.image_column:
            return {"images": self.image_column, "name": self.name_column, "id": self.id_column}
        if self.name_column or self.id_column:
            raise UsageError("Name the image columns too: --image-column NAME")
        return None


@with_option_groups
def submit(
    file: Annotated[
        Path,
        typer.Argument(
            help="Product export of a shop, or CSV or Excel file of products, to upload; - is standard input."
        ),
    ],
    *,
    service: ServiceOptions,
    wait: Annotated[bool, typer.Option(help="Show progress until the end, then save the output.")] = True,
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to save the output to; a workbook is saved as CSV to a .csv file.",
            show_default="FILE-output.csv or .xlsx",
        ),
    ] = None,
    table: FileOptions,
    images: ImageOptions,
    output_variant: Outputs = None,
    negotiate: Annotated[
        bool,
        typer.Option(
            "--negotiate", help="Let each URL serve the smallest of the output variants that a browser says it accepts."
        ),
    ] = False,
    file_name: Annotated[
        str | None,
        typer.Option(help="Names of the results in their URLs.", show_default="{handle}-{n}", metavar="TEMPLATE"),
    ] = None,
    priority: Annotated[
        Priority, typer.Option(help="Priority among the requests.", case_sensitive=False)
    ] = Priority.NORMAL,
    webhook: Annotated[
        str | None,
        typer.Option(help="Webhook URL to call when the request finishes.", parser=_parse_url, metavar="URL"),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="A repeated upload with the same key returns the first request.", metavar="KEY"),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Process unchanged images again, and give them new URLs.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only measure a sample of the images, and print what would be saved.")
    ] = False,
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

    Ctrl-C leaves the request running, and a second Ctrl-C cancels it. The exit status is 0 if all images are done,
    3 if some failed, and 1 if the upload was refused or the request failed.

    If the service requires an API key, set IMGPROC_API_KEY or IMGPROC_API_KEY_FILE in the environment or in `.env`.
    """
    from gql_imgproc.csvfile.workbook import output_extension
    from gql_imgproc.standalone import submit as submission
    from gql_imgproc.standalone.terminal import EXIT_STATUS

    chosen = images.to_options(file_name, output_variant or (), negotiate=negotiate)
    options, columns = _to_input(chosen), table.columns()
    if estimate:
        _print_estimate(service, file, options, table, printed)
        return
    stem = Path(submission.STDIN_NAME).stem if file == submission.STDIN else file.stem
    saved = (output or Path(f"{stem}-output.{output_extension(file.name)}")) if wait else None
    out, err = printed.consoles()

    async def work(client: AsyncClient) -> Request:
        upload = partial(
            client.upload,
            webhook_url=webhook,
            priority=priority,
            options=options,
            idempotency_key=idempotency_key,
            profile=table.profile,
            columns=columns,
            on_invalid_row=table.on_invalid_row,
            encoding=table.encoding,
            sheet=table.sheet,
            refresh=refresh,
        )
        with printed.refusals():
            return await submission.submit(client, file, upload, output=saved, out=out, err=err)

    request = service.follow(work, yes=yes)
    printed.print_json(request)
    raise typer.Exit(EXIT_STATUS.get(request.status, 1) if wait else 0)


def _print_estimate(
    service: ServiceOptions, file: Path, options: dict[str, Any] | None, table: FileOptions, printed: OutputOptions
) -> None:
    from gql_imgproc.standalone import submit as submission

    columns = table.columns()

    async def work(client: AsyncClient) -> Estimate:
        measure = partial(
            client.estimate,
            options=options,
            profile=table.profile,
            columns=columns,
            on_invalid_row=table.on_invalid_row,
            encoding=table.encoding,
            sheet=table.sheet,
        )
        with printed.refusals():
            return await submission.estimate(file, measure, printed.consoles()[0])

    found = service.run(work)
    if printed.json:
        print_json(asdict(found))


def _to_input(options: Options) -> dict[str, Any] | None:
    """The `ProcessingOptionsInput` with the values that differ from the defaults."""
    from pydantic.alias_generators import to_camel

    defaults = asdict(DEFAULT)
    # `metadata` says the same as `keep_metadata`, which is deprecated.
    changed = {
        to_camel(name): value
        for name, value in asdict(options).items()
        if value != defaults[name] and name not in ("keep_metadata", "outputs")
    }
    if options.outputs:
        outputs = (output.to_json().items() for output in options.outputs)
        changed["outputs"] = [{to_camel(name): value for name, value in output} for output in outputs]
    return changed or None


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
      IMGPROC_WEBHOOK_SECRET=whsec_… gql-imgproc listen
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
