"""The command `submit`: one upload, its progress and its output CSV."""

from __future__ import annotations

from errno import EISDIR
from os import strerror
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from rich.console import Console

from gql_imgproc.csvfile.messages import plural
from gql_imgproc.standalone.client import Client, CsvRejected, Progress
from gql_imgproc.standalone.errors import ServiceError
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
    async with Client(url, key) as client:
        with _open(file) as csv_file:
            upload = await client.upload(csv_file, file.name, webhook_url)
        if isinstance(upload, CsvRejected):
            show_csv_issues(err, upload)
            return 1
        summary = f"{plural(upload.products, 'product')}, {plural(upload.images, 'image')}"
        out.print(f"{upload.request_id}: {summary}", soft_wrap=True)
        if output is None:
            return 0
        state = await show_progress(client, upload.request_id, err)
        await _save(client, state, output, out)
    return EXIT_STATUS.get(state.status, 1)


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


def _open(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise ServiceError(f"Cannot read the file {file}: {error.strerror}") from None


async def _save(client: Client, state: Progress, output: Path, out: Console) -> None:
    if state.failure:
        out.print(state.failure, markup=False, soft_wrap=True)
    if state.output_csv_url is None:
        raise ServiceError(f"The request finished with status {state.status.value} and has no output CSV")
    await client.download(state.output_csv_url, output)
    show_failures(out, output)
    saving = format_saving(state.input_bytes, state.output_bytes)
    out.print(
        f"{state.processed:,} of {plural(state.total, 'image')} done, {format_size(state.input_bytes)} -> "
        f"{format_size(state.output_bytes)} ({saving} saved)\noutput: {output}",
        markup=False,
        soft_wrap=True,
    )
