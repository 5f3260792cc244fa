"""Writes the output CSV of a request: stores it at the end, and returns what there is of it before."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import BinaryIO

from gql_imgproc.csvfile.encoding import charset_of
from gql_imgproc.csvfile.layout import CsvLayout
from gql_imgproc.csvfile.results import ReportedResult
from gql_imgproc.csvfile.writer import write_output
from gql_imgproc.enums import ImageStatus
from gql_imgproc.errors import InvalidCsv, ObjectMissing, TooManyOutputs
from gql_imgproc.imaging.options import Options
from gql_imgproc.requests.alternatives import OutputFile, find_alternatives
from gql_imgproc.requests.file_names import result_path
from gql_imgproc.requests.limits import accepted_csv_limits, url_check
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.repository.image_outputs import FurtherOutput
from gql_imgproc.requests.repository.output_rows import OutputRow, read_output_rows
from gql_imgproc.requests.repository.transitions import RequestLease
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.object_store import ObjectHeaders
from gql_imgproc.storage.paths import input_key, output_key, output_name, report_key, workbook_name
from gql_imgproc.storage.response_headers import OUTPUT_CACHE, content_disposition, output_download, report_download
from gql_imgproc.storage.temporary_file import temporary_file

log = logging.getLogger(__name__)

#: Products whose results are read in one query.
RESULTS_PAGE_PRODUCTS = 1_000
#: Pause between rows, so that the event loop can take the GIL.
PAUSE_SECONDS = 0.0001


STOPPED_MESSAGE = "Not done: the request was stopped."
#: The result of an image whose row is not inserted yet.
_NOT_INSERTED = ReportedResult(None, ImageStatus.PENDING.value)


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """The files of a finished request."""

    #: Of the output; for a workbook, of the workbook.
    name: str
    #: With the report and, for a workbook, the CSV.
    size_bytes: int


async def store_output(runtime: Runtime, lease: RequestLease, request: Snapshot) -> StoredFiles | None:
    """Stores the output and its report; returns None when the stored CSV cannot be read.

    The output of a workbook is a workbook, and a CSV.
    """
    layout = await runtime.db.read(queries.get_csv_layout, request.id)
    try:
        with ExitStack() as stack:
            report, *outputs = (stack.enter_context(temporary_file()) for _ in range(3 if layout.sheet else 2))
            names = await _write_files(runtime, request, layout, report, outputs, lease.token)
            name, profile = request.csv_filename, request.profile
            stored = [(report_key(request.id, names[0]), report, report_download(name))]
            for output, each in zip(outputs, names, strict=True):
                stored.append((output_key(request.id, each), output, output_download(name, profile, each)))
            # The same headers as in our own responses: a bucket may serve the objects directly.
            for key, file, download in stored:
                headers = ObjectHeaders(download.media_type, OUTPUT_CACHE, content_disposition(download.filename))
                await runtime.storage.put_file(key, file, headers)
            size_bytes = sum(file.seek(0, os.SEEK_END) for _, file, _ in stored)
    except (InvalidCsv, ObjectMissing, ValueError):
        # A ValueError means that the CSV has another number of images than when it was accepted.
        log.exception("stored CSV cannot be read", extra={"request": request.id})
        return None
    return StoredFiles(names[-1], size_bytes)


async def write_partial_output(runtime: Runtime, request: Snapshot, file: BinaryIO, *, as_csv: bool) -> str:
    """Writes the output of a running request so far, and returns the name that it would have.

    Images that are not done have no URL. Raises TooManyOutputs, or ObjectMissing.
    """
    layout = await runtime.db.read(queries.get_csv_layout, request.id)
    if runtime.outputs.locked():
        raise TooManyOutputs
    async with runtime.outputs:
        with temporary_file() as report, temporary_file() as other:
            outputs = [file] if not layout.sheet else [file, other] if as_csv else [other, file]
            names = await _write_files(runtime, request, layout, report, outputs, lease_token=0)
            return names[outputs.index(file)]


async def _write_files(
    runtime: Runtime,
    request: Snapshot,
    layout: CsvLayout,
    report: BinaryIO,
    outputs: list[BinaryIO],
    lease_token: int,
) -> list[str]:
    """Writes a CSV and, for a workbook, also a workbook. Returns their names."""
    with temporary_file() as source:
        await runtime.storage.download(input_key(request.id), source)
        # Not on the threads that read CSVs: ingestions would wait for it.
        encoding = await asyncio.to_thread(_write, runtime, request, source, report, outputs, layout)
    return [output_name(lease_token, charset_of(encoding)), workbook_name(lease_token)][: len(outputs)]


def _write(
    runtime: Runtime, request: Snapshot, source: BinaryIO, report: BinaryIO, outputs: list[BinaryIO], layout: CsvLayout
) -> str:
    """Writes in the encoding of the upload; in UTF-8 if that lacks a character of an error message."""
    options = Options.from_json(request.options)
    write = partial(
        write_output,
        source,
        outputs[0],
        report,
        accepted_csv_limits(),
        yield_control=partial(time.sleep, PAUSE_SECONDS),
        layout=layout,
        check_url=url_check(runtime.policy),
        workbook=outputs[1] if layout.sheet else None,
        output_names=[output.name for output in options.outputs],
    )
    try:
        return write(results=_read_results(runtime, request, options))
    except UnicodeEncodeError:
        for file in (*outputs, report):
            file.seek(0)
            file.truncate()
        return write(results=_read_results(runtime, request, options), encoding="utf-8")


def _read_results(runtime: Runtime, request: Snapshot, options: Options) -> Iterator[ReportedResult]:
    """The results of all images in the order of the CSV."""
    images, end, names = 0, request.ingested_products, options.output_names
    for start in range(0, end, RESULTS_PAGE_PRODUCTS):
        count = min(RESULTS_PAGE_PRODUCTS, end - start)
        for image in runtime.db.read_now(read_output_rows, request.id, start, count, len(names)):
            images += 1
            is_pending = image.status is ImageStatus.PENDING
            is_cancelled = image.status is ImageStatus.CANCELLED
            has_object = image.object_name is not None
            to_url = partial(_output_url, runtime, image, [image, *image.further] if options.negotiate else ())
            yield ReportedResult(
                output_url=to_url(image),
                outcome=image.outcome.value if image.outcome and has_object else image.status.value,
                error_code=image.error_code.value if image.error_code and not (is_cancelled or is_pending) else None,
                # The message of an image with an object is a warning.
                error=STOPPED_MESSAGE if is_cancelled else None if has_object or is_pending else image.error_message,
                input_bytes=image.input_bytes,
                output_bytes=image.output_bytes,
                similarity=image.similarity,
                output=names[0] if has_object else None,
                further=[_further_result(image, each, names[each.position], to_url) for each in image.further],
            )
    if request.needs_rows:
        yield from repeat(_NOT_INSERTED, request.total_images - images)


def _further_result(
    image: OutputRow, output: FurtherOutput, name: str | None, to_url: Callable[[OutputFile, str | None], str | None]
) -> ReportedResult:
    return ReportedResult(
        output_url=to_url(output, name),
        outcome=output.outcome.value,
        input_bytes=image.input_bytes,
        output_bytes=output.output_bytes,
        similarity=output.similarity,
        output=name,
    )


def _output_url(
    runtime: Runtime, image: OutputRow, outputs: Sequence[OutputFile], output: OutputFile, name: str | None = None
) -> str | None:
    """`outputs`: those of the image, if they can be served in place of each other. `name`: unless it is the first."""
    if output.object_name is None:
        return None
    alternatives = find_alternatives(output, outputs)
    path = result_path(output.stored_by, output.object_name, image.file_name, image.position, name, alternatives)
    return runtime.settings.public_url + path
