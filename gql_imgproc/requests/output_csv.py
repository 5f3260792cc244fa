"""Writes and stores the output CSV of a request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

from gql_imgproc.csvfile.writer import write_output
from gql_imgproc.errors import InvalidCsv, ObjectMissing
from gql_imgproc.requests.limits import accepted_csv_limits
from gql_imgproc.requests.repository.output_rows import read_output_rows
from gql_imgproc.requests.repository.transitions import RequestLease
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.object_store import ObjectHeaders
from gql_imgproc.storage.paths import image_path, input_key, output_key, output_name
from gql_imgproc.storage.response_headers import OUTPUT_CACHE, OUTPUT_TYPE, content_disposition, output_filename
from gql_imgproc.storage.temporary_file import temporary_file

log = logging.getLogger(__name__)

#: Products whose results are read in one query.
RESULTS_PAGE_PRODUCTS = 1_000


async def store_output(runtime: Runtime, lease: RequestLease, request: Snapshot) -> str | None:
    """Stores the output CSV and returns its name; None when the stored CSV cannot be read."""
    name = output_name(lease.token)
    try:
        with temporary_file() as source, temporary_file() as output:
            await runtime.storage.download(input_key(request.id), source)
            # Not on the threads that read CSVs: ingestions would wait for it.
            await asyncio.to_thread(
                write_output, source, output, accepted_csv_limits(), _read_results(runtime, request)
            )
            # The same headers as in our own responses: a bucket may serve the object directly.
            headers = ObjectHeaders(
                OUTPUT_TYPE, OUTPUT_CACHE, content_disposition(output_filename(request.csv_filename))
            )
            await runtime.storage.put_file(output_key(request.id, name), output, headers)
    except (InvalidCsv, ObjectMissing, ValueError):
        # A ValueError means that the CSV has another number of rows than when it was accepted.
        log.exception("stored CSV cannot be read", extra={"request": request.id})
        return None
    return name


def _read_results(runtime: Runtime, request: Snapshot) -> Iterator[tuple[list[str | None], list[str | None]]]:
    """URLs and errors of the images of each product, in the order of the CSV."""
    public_url = runtime.settings.public_url
    for start in range(0, request.total_products, RESULTS_PAGE_PRODUCTS):
        for images in runtime.db.read_now(read_output_rows, request.id, start, RESULTS_PAGE_PRODUCTS):
            yield (
                [public_url + image_path(request.id, name) if name else None for name, _ in images],
                [error for _, error in images],
            )
