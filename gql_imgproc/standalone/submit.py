"""One upload from a terminal, to its end."""

from __future__ import annotations

from errno import EISDIR
from os import strerror
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from rich.console import Console

from gql_imgproc.csvfile.messages import plural
from gql_imgproc.standalone.client import Client, CsvRejected, ServiceError
from gql_imgproc.standalone.client import Progress as State
from gql_imgproc.standalone.terminal import (
    EXIT_STATUS,
    format_saving,
    format_size,
    show_csv_issues,
    show_failures,
    show_progress,
)


async def submit(url: str, file: Path, *, webhook_url: str | None, output: Path | None, key: str | None = None) -> int:
    """Uploads, follows and saves to `output`, or only uploads when that is None; returns the exit status."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    if output is not None:
        check_output(output)
    async with Client(url, key) as client:
        with _opened(file) as opened:
            answer = await client.upload(opened, file.name, webhook_url)
        if isinstance(answer, CsvRejected):
            show_csv_issues(err, answer)
            return 1
        counted = f"{plural(answer.products, 'product')}, {plural(answer.images, 'picture')}"
        out.print(f"{answer.request_id}: {counted}", soft_wrap=True)
        if output is None:
            return 0
        state = await show_progress(client, answer.request_id, err)
        await _save(client, state, output, out)
    return EXIT_STATUS.get(state.status, 1)


def check_output(output: Path) -> None:
    """Refuses a place that cannot be written before anything is uploaded: the work would be done for nothing."""
    try:
        if output.is_dir():
            raise IsADirectoryError(EISDIR, strerror(EISDIR))
        with TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ServiceError(
            f"The output {output} cannot be written: {error.strerror}. Choose another place with --output"
        ) from None


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise ServiceError(f"The file {file} cannot be read: {error.strerror}") from None


async def _save(client: Client, state: State, output: Path, out: Console) -> None:
    if state.failure:
        out.print(state.failure, markup=False, soft_wrap=True)
    if state.output_csv_url is None:
        raise ServiceError(f"The request ended {state.status.value} and has no output CSV")
    await client.download(state.output_csv_url, output)
    show_failures(out, output)
    share = format_saving(state.input_bytes, state.output_bytes)
    out.print(
        f"{state.processed:,} of {plural(state.total, 'picture')} done, {format_size(state.input_bytes)} -> "
        f"{format_size(state.output_bytes)} ({share} saved)\noutput: {output}",
        markup=False,
        soft_wrap=True,
    )
