"""The command `submit`: one upload, its progress and its output CSV."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EISDIR
from os import strerror
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from rich.console import Console

from gql_imgproc.client import AsyncClient, Estimate, Request, ServiceError
from gql_imgproc.csvfile.messages import plural
from gql_imgproc.errors import ImgprocError
from gql_imgproc.standalone.terminal import show_estimate, show_failures, show_progress, show_summary, show_warnings

#: Standard input, as the name of a file.
STDIN = Path("-")


class Detached(ImgprocError):
    """Ctrl-C was pressed while a request was followed. The request continues."""

    def __init__(self, request_id: str) -> None:
        super().__init__("The request continues")
        self.request_id = request_id


async def submit(
    client: AsyncClient,
    file: Path,
    upload: Callable[[Path | BinaryIO, str], Awaitable[Request]],
    *,
    output: Path | None,
    out: Console,
    err: Console,
) -> Request:
    """Uploads a file and its name, shows progress and saves to `output`, or only uploads when that is None."""
    if output is not None:
        check_output(output)
    with _open_upload(file) as content:
        request = await upload(content, upload_name(file))
    summary = f"{plural(request.total_products, 'product')}, {plural(request.total_images, 'image')}"
    out.print(f"{request.id}: {summary}", soft_wrap=True)
    show_warnings(out, request)
    if output is None:
        return request
    request = await follow(client, request.id, err)
    if request.failure:
        out.print(request.failure.message, markup=False, soft_wrap=True)
    await client.download(request, output)
    await show_failures(out, client, request)
    show_summary(out, request, output)
    return request


async def estimate(
    file: Path, measure: Callable[[Path | BinaryIO, str], Awaitable[Estimate]], out: Console
) -> Estimate:
    """Prints what an upload would save, from a sample of its images. Uploads nothing."""
    with _open_upload(file) as content:
        found = await measure(content, upload_name(file))
    show_estimate(out, found)
    return found


async def follow(client: AsyncClient, request_id: str, err: Console) -> Request:
    """Shows the progress of a request until its final state, which has its changes. Raises Detached after Ctrl-C."""
    try:
        request = await show_progress(client, request_id, err)
        # The output is still to be saved, which does not need the changes.
        with suppress(ServiceError):
            request = await client.compare(request)
    except asyncio.CancelledError:
        raise Detached(request_id) from None
    return request


def upload_name(file: Path) -> str:
    return "products.csv" if file == STDIN else file.name


@contextmanager
def _open_upload(file: Path) -> Iterator[Path | BinaryIO]:
    """The file, or a copy of standard input, which can be sent again."""
    if file != STDIN:
        yield file
        return
    with TemporaryFile() as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.seek(0)
        yield copy


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
