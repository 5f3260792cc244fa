"""The command `submit`: one upload, its progress and its output CSV."""

from __future__ import annotations

from errno import EISDIR
from os import strerror
from pathlib import Path
from tempfile import TemporaryFile

from rich.console import Console

from gql_imgproc.client import AsyncClient, Request, ServiceError, UserError
from gql_imgproc.csvfile.messages import plural
from gql_imgproc.standalone.terminal import (
    EXIT_STATUS,
    format_saving,
    format_size,
    show_csv_issues,
    show_failures,
    show_progress,
)


async def submit(url: str, file: Path, *, webhook_url: str | None, output: Path | None, key: str | None = None) -> int:
    """Uploads, shows progress and saves to `output`, or only uploads when that is None; returns the exit status."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    if output is not None:
        check_output(output)
    async with AsyncClient(url, key) as client:
        try:
            request = await client.upload(file, webhook_url=webhook_url)
        except UserError as error:
            show_csv_issues(err, error)
            return 1
        summary = f"{plural(request.total_products, 'product')}, {plural(request.total_images, 'image')}"
        out.print(f"{request.id}: {summary}", soft_wrap=True)
        if output is None:
            return 0
        request = await show_progress(client, request.id, err)
        await _save(client, request, output, out)
    return EXIT_STATUS.get(request.status, 1)


def check_output(output: Path) -> None:
    """Raises ServiceError when the output cannot be written. Called before the upload, whose result would be lost."""
    try:
        if output.is_dir():
            raise IsADirectoryError(EISDIR, strerror(EISDIR))
        with TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ServiceError(
            f"Cannot write the output {output}: {error.strerror}. Choose another file with --output"
        ) from None


async def _save(client: AsyncClient, request: Request, output: Path, out: Console) -> None:
    if request.failure:
        out.print(request.failure.message, markup=False, soft_wrap=True)
    await client.download(request, output)
    show_failures(out, output)
    saving = format_saving(request.input_bytes, request.output_bytes)
    out.print(
        f"{request.processed_images:,} of {plural(request.total_images, 'image')} done, "
        f"{format_size(request.input_bytes)} -> {format_size(request.output_bytes)} ({saving} saved)\noutput: {output}",
        markup=False,
        soft_wrap=True,
    )
