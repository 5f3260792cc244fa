"""Commands for requests that exist: `list`, `status`, `watch`, `download`, `cancel`, `retry`, `delete`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gql_imgproc.cli.option_groups import OutputOptions, Quiet, with_option_groups
from gql_imgproc.cli.output import Json, print_json, print_rows
from gql_imgproc.cli.service import ServiceOptions, Yes
from gql_imgproc.enums import RequestStatus
from gql_imgproc.errors import ImageErrorCode, UsageError
from gql_imgproc.ids import IdPrefix, parse_global_id

if TYPE_CHECKING:
    from gql_imgproc.client import AsyncClient, Request

TITLES = {
    "id": "ID",
    "csv_filename": "File",
    "status": "Status",
    "total_images": "Images",
    "processed_images": "Done",
    "failed_images": "Failed",
    "created_at": "Created (UTC)",
}

#: Newest requests among which an abbreviated ID is looked up.
MAX_SEARCHED = 1_000

RequestId = Annotated[str, typer.Argument(metavar="ID", help="ID of a request, or its first or last digits.")]


def register(app: typer.Typer) -> None:
    for command in (list_, status, watch, download, cancel, retry, delete):
        app.command(command.__name__.rstrip("_"))(with_option_groups(command))


def list_(
    *,
    status: Annotated[
        RequestStatus | None, typer.Option(help="Only requests with this status.", case_sensitive=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Largest number of requests.")] = 20,
    service: ServiceOptions,
    json: Json = False,
) -> None:
    """List requests, the newest first.

    \b
    Examples:
      gql-imgproc list
      gql-imgproc list --status completed_with_errors --json
    """
    requests = service.run(lambda client: _newest_requests(client, limit, status))
    print_rows(TITLES, map(asdict, requests), as_json=json)


def status(id: RequestId, *, service: ServiceOptions, json: Json = False) -> None:
    """Print the state of a request, what it saves, what changed since the last file, and where its files are.

    \b
    Example:
      gql-imgproc status 9f3c
    """
    from rich.console import Console

    from gql_imgproc.standalone.terminal import show_summary

    async def work(client: AsyncClient) -> Request:
        return await client.compare(await _find_request(client, id))

    request = service.run(work)
    if json:
        print_json(asdict(request))
        return
    print_rows(TITLES, [asdict(request)], as_json=False)
    if request.failure:
        typer.echo(request.failure.message)
    show_summary(Console(highlight=False), request)


def watch(id: RequestId, *, service: ServiceOptions, yes: Yes = False, printed: OutputOptions) -> None:
    """Show the progress of a request until its end. The exit status is that of `submit`.

    \b
    Example:
      gql-imgproc watch 9f3c
    """
    from gql_imgproc.standalone.submit import follow
    from gql_imgproc.standalone.terminal import EXIT_STATUS, show_failures, show_summary

    out, err = printed.consoles()

    async def work(client: AsyncClient) -> Request:
        request = await follow(client, (await _find_request(client, id)).id, err)
        await show_failures(out, client, request)
        return request

    request = service.follow(work, yes=yes)
    show_summary(out, request)
    printed.print_json(request)
    raise typer.Exit(EXIT_STATUS.get(request.status, 1))


def download(
    id: RequestId,
    *,
    output: Annotated[Path | None, typer.Option(help="File to write.", show_default="FILE-output.csv or .xlsx")] = None,
    report: Annotated[bool, typer.Option("--report", help="Download the report, one row per image.")] = False,
    zip: Annotated[bool, typer.Option("--zip", help="Download a ZIP archive of all images.")] = False,
    service: ServiceOptions,
    quiet: Quiet = False,
) -> None:
    """Download the output of a request that has finished. That of a workbook is saved as CSV to a .csv file.

    \b
    Examples:
      gql-imgproc download 9f3c
      gql-imgproc download 9f3c --zip --output images.zip
    """
    from gql_imgproc.csvfile.workbook import output_extension

    if report and zip:
        raise UsageError("Choose either --report or --zip")

    async def work(client: AsyncClient) -> Path:
        request = await _find_request(client, id)
        stem = Path(request.csv_filename).stem
        source: Request | str | None = request
        name = f"{stem}-output.{output_extension(request.csv_filename)}"
        if report:
            source, name = request.report_csv_url, f"{stem}-report.csv"
        elif zip:
            source, name = request.archive_url, f"{stem}.zip"
        target = output or Path(name)
        # Says why, if the request has no files.
        await client.download(source or request, target)
        return target

    target = service.run(work)
    if not quiet:
        typer.echo(f"Saved {target}")


def cancel(id: RequestId, *, service: ServiceOptions, printed: OutputOptions) -> None:
    """Cancel a request. Images in progress may still finish.

    \b
    Example:
      gql-imgproc cancel 9f3c
    """
    _change(id, service, printed, lambda client, request: client.cancel(request.id))


def retry(
    id: RequestId,
    *,
    error_code: Annotated[
        ImageErrorCode | None, typer.Option(help="Only images with this error.", case_sensitive=False)
    ] = None,
    host: Annotated[str | None, typer.Option(help="Only images of this host, such as cdn.example:443.")] = None,
    service: ServiceOptions,
    printed: OutputOptions,
) -> None:
    """Retry the failed images of a request that has finished.

    \b
    Examples:
      gql-imgproc retry 9f3c && gql-imgproc watch 9f3c
      gql-imgproc retry 9f3c --error-code timeout --host cdn.example:443
    """
    _change(id, service, printed, lambda client, request: client.retry(request.id, error_code, host))


def delete(id: RequestId, *, yes: Yes = False, service: ServiceOptions, printed: OutputOptions) -> None:
    """Delete a request that has finished, its files, and the images that no other request uses.

    \b
    Example:
      gql-imgproc delete 9f3c --yes

    On a terminal, it asks for confirmation.
    """

    async def work(client: AsyncClient, request: Request) -> Request:
        await client.delete(request.id)
        return request

    request = service.run(lambda client: _find_request(client, id))
    if sys.stdin.isatty() and not yes:
        typer.confirm(f"Delete {request.id} ({request.csv_filename}) with its images?", abort=True, err=True)
    _change(request.id, service, printed, work, label="deleted")


def _change(
    id: str,
    service: ServiceOptions,
    printed: OutputOptions,
    change: Callable[[AsyncClient, Request], Coroutine[Any, Any, Request]],
    label: str | None = None,
) -> None:
    """Changes a request, and prints its new status."""

    async def work(client: AsyncClient) -> Request:
        with printed.refusals():
            return await change(client, await _find_request(client, id))

    request = service.run(work)
    out, _ = printed.consoles()
    out.print(f"{request.id}: {label or request.status.value.lower()}", soft_wrap=True)
    printed.print_json(request)


async def _newest_requests(client: AsyncClient, limit: int, status: RequestStatus | None = None) -> list[Request]:
    found: list[Request] = []
    async with aclosing(client.list(status)) as requests:
        async for request in requests:
            found.append(request)
            if len(found) == limit:
                break
    return found


async def _find_request(client: AsyncClient, text: str) -> Request:
    """The request with an ID, or the only one whose ID starts or ends with these digits. Raises ServiceError."""
    from gql_imgproc.client import ServiceError

    if parse_global_id(text, IdPrefix.REQUEST):
        return await client.get(text)
    digits = text.removeprefix("req_")
    requests = await _newest_requests(client, MAX_SEARCHED)
    found = [request for request in requests if request.id[4:].startswith(digits) or request.id.endswith(digits)]
    if not found:
        raise ServiceError(f"Request not found: {text}. `gql-imgproc list` lists the requests")
    if len(found) > 1:
        ids = ", ".join(request.id for request in found[:3])
        raise ServiceError(f"{len(found):,} requests have IDs that start or end with {text}: {ids}. Add digits")
    return found[0]
