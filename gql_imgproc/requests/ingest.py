"""Taking in the rows of an accepted CSV, chunk by chunk, from wherever an earlier attempt ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO
from uuid import UUID

from gql_imgproc.csvfile.reader import ProductRow, read_rows
from gql_imgproc.errors import InvalidCsv, LeaseLost, ObjectMissing, StorageError
from gql_imgproc.metrics import LEASES_LOST
from gql_imgproc.requests.lease import lease_request
from gql_imgproc.requests.limits import tenant_limits
from gql_imgproc.requests.notify import best_effort, enqueue_workers, publish
from gql_imgproc.requests.repository import create, transitions
from gql_imgproc.requests.repository.create import NewProduct
from gql_imgproc.requests.repository.transitions import RequestLease
from gql_imgproc.requests.trace_context import request_span
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.paths import input_key
from gql_imgproc.storage.temporary_file import temporary_file

log = logging.getLogger(__name__)

#: Rows inserted in one transaction: 5,000 would hold SQLite's write lock until other writers notice.
CHUNK_PRODUCTS = 2_000
#: Pause after a chunk, so that other writers get the lock, in seconds.
CHUNK_PAUSE_SECONDS = 0.002


class CsvChanged(Exception):
    """The stored CSV has not as many rows as were counted when it was accepted."""


async def ingest(runtime: Runtime, request_id: UUID) -> None:
    """Inserts the rows that are missing, waking workers as they come. Ends at once when another does it."""
    try:
        async with lease_request(runtime, request_id) as hold:
            if hold is None:
                return
            if hold.request.needs_rows:
                async with request_span(runtime, "ingest", request_id):
                    await _insert_chunk(runtime, hold)
    except LeaseLost:
        LEASES_LOST.labels("ingestion").inc()
        log.info("ingestion skipped: lease lost", extra={"request": request_id})
        return
    except StorageError as error:
        log.warning("ingestion postponed until the next reconcile", extra={"request": request_id, "reason": str(error)})
        return
    # It may have been stopped meanwhile; finishing looks at that.
    await best_effort(runtime, lambda: runtime.queue.finish(request_id))


async def _insert_chunk(runtime: Runtime, hold: RequestLease) -> None:
    """Inserts all missing rows, or stops a request whose CSV will never be read again."""
    request = hold.request
    try:
        with temporary_file() as file:
            await runtime.storage.download(input_key(request.id), file)
            await _insert_rows(runtime, hold, file)
    except (InvalidCsv, CsvChanged, ObjectMissing):
        log.exception("stored CSV cannot be read", extra={"request": request.id})
        await runtime.db.write(transitions.mark_unreadable, hold)


async def _insert_rows(runtime: Runtime, hold: RequestLease, file: BinaryIO) -> None:
    request, lease_s = hold.request, runtime.settings.lease_seconds
    first, end = request.ingested_products, request.total_products
    rows = await runtime.run_csv_io(_skip_rows, file, first)
    for start in range(first, end, CHUNK_PRODUCTS):
        chunk = await runtime.run_csv_io(_take, rows, min(CHUNK_PRODUCTS, end - start))
        if len(chunk) < min(CHUNK_PRODUCTS, end - start):
            raise CsvChanged
        state = await runtime.db.write(
            create.insert_chunk,
            hold,
            chunk,
            lease_s,
        )
        await publish(runtime, state)
        if start == first:
            await enqueue_workers(runtime, request.id, request.priority)
        await asyncio.sleep(CHUNK_PAUSE_SECONDS)
    if await runtime.run_csv_io(_take, rows, 1):
        raise CsvChanged


def read_chunk(file: BinaryIO, count: int) -> list[NewProduct]:
    """The first rows of a checked CSV."""
    return _take(_skip_rows(file, 0), count)


def _skip_rows(file: BinaryIO, count: int) -> Iterator[ProductRow]:
    file.seek(0)
    rows = read_rows(file, tenant_limits())
    next(islice(rows, count, count), None)
    return rows


def _take(rows: Iterator[ProductRow], count: int) -> list[NewProduct]:
    return [
        NewProduct(row.position, row.serial_number, row.product_name, row.image_urls) for row in islice(rows, count)
    ]
