"""Inserts the rows of an accepted CSV in chunks, starting where an earlier attempt stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from gql_imgproc.csvfile.reader import ProductRow, read_rows
from gql_imgproc.enums import RequestPhase
from gql_imgproc.errors import InvalidCsv, ObjectMissing
from gql_imgproc.requests.errors import CsvChanged
from gql_imgproc.requests.limits import accepted_csv_limits
from gql_imgproc.requests.notify import permit_work, publish
from gql_imgproc.requests.repository import create, transitions
from gql_imgproc.requests.repository.create import NewProduct
from gql_imgproc.requests.repository.transitions import RequestLease
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.time_slice import TimeSlice
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.paths import input_key
from gql_imgproc.storage.temporary_file import temporary_file

log = logging.getLogger(__name__)

#: Rows inserted in one transaction; with 5,000, other writers would notice the wait for SQLite's lock.
CHUNK_PRODUCTS = 2_000
#: Pause after each chunk, so that other writers can acquire the lock.
CHUNK_PAUSE_SECONDS = 0.002


async def ingest(runtime: Runtime, lease: RequestLease, request: Snapshot, time_slice: TimeSlice) -> Snapshot | None:
    """Inserts missing rows until the time slice ends; those of a stopping request as cancelled.

    Stops the request when its stored CSV cannot be read.
    """
    try:
        with temporary_file() as file:
            await runtime.storage.download(input_key(request.id), file)
            return await _insert_rows(runtime, lease, request, file, time_slice)
    except (InvalidCsv, CsvChanged, ObjectMissing):
        log.exception("stored CSV cannot be read", extra={"request": request.id})
        return await runtime.db.write(transitions.mark_unreadable, lease)


async def _insert_rows(
    runtime: Runtime, lease: RequestLease, request: Snapshot, file: BinaryIO, time_slice: TimeSlice
) -> Snapshot:
    is_stopping = request.phase is RequestPhase.STOPPING
    insert = create.insert_cancelled_chunk if is_stopping else create.insert_chunk
    first, end = request.ingested_products, request.total_products
    rows = await runtime.run_csv_io(_skip_rows, file, first)
    for start in range(first, end, CHUNK_PRODUCTS):
        # One row more than there should be, at the end.
        chunk = await runtime.run_csv_io(_read_products, rows, min(CHUNK_PRODUCTS, end - start + 1))
        if len(chunk) != min(CHUNK_PRODUCTS, end - start):
            raise CsvChanged
        request = await runtime.db.write(insert, lease, chunk)
        publish(runtime, request)
        if start == first and not is_stopping:
            await permit_work(runtime)
        await asyncio.sleep(CHUNK_PAUSE_SECONDS)
        if await time_slice.is_over():
            break
    return request


def read_chunk(file: BinaryIO, count: int) -> list[NewProduct]:
    """The first rows of a checked CSV."""
    return _read_products(_skip_rows(file, 0), count)


def _skip_rows(file: BinaryIO, count: int) -> Iterator[ProductRow]:
    file.seek(0)
    rows = read_rows(file, accepted_csv_limits())
    next(islice(rows, count, count), None)
    return rows


def _read_products(rows: Iterator[ProductRow], count: int) -> list[NewProduct]:
    return [
        NewProduct(row.position, row.serial_number, row.product_name, row.image_urls) for row in islice(rows, count)
    ]
