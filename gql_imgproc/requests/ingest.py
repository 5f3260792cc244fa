"""Inserts the rows of an accepted CSV in chunks, starting where an earlier attempt stopped."""

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
from gql_imgproc.requests.errors import CsvChanged
from gql_imgproc.requests.lease import lease_request
from gql_imgproc.requests.limits import accepted_csv_limits
from gql_imgproc.requests.notify import best_effort, enqueue_workers, publish
from gql_imgproc.requests.repository import create, transitions
from gql_imgproc.requests.repository.create import NewProduct
from gql_imgproc.requests.repository.transitions import RequestLease
from gql_imgproc.requests.trace_context import request_span
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.paths import input_key
from gql_imgproc.storage.temporary_file import temporary_file

log = logging.getLogger(__name__)

#: Rows inserted in one transaction; with 5,000, other writers would notice the wait for SQLite's lock.
CHUNK_PRODUCTS = 2_000
#: Pause after each chunk, so that other writers can acquire the lock.
CHUNK_PAUSE_SECONDS = 0.002


async def ingest(runtime: Runtime, request_id: UUID) -> None:
    """Inserts the missing rows and wakes workers. Returns at once when another process holds the request's lease."""
    try:
        async with lease_request(runtime, request_id) as lease:
            if lease is None:
                return
            if lease.request.needs_rows:
                async with request_span(runtime, "ingest", request_id):
                    await _insert_missing_rows(runtime, lease)
    except LeaseLost:
        LEASES_LOST.labels("ingestion").inc()
        log.info("ingestion skipped: lease lost", extra={"request": request_id})
        return
    except StorageError as error:
        log.warning("ingestion postponed until the next reconcile", extra={"request": request_id, "reason": str(error)})
        return
    # It may have been stopped meanwhile.
    await best_effort(runtime, lambda: runtime.queue.finish(request_id))


async def _insert_missing_rows(runtime: Runtime, lease: RequestLease) -> None:
    """Inserts all missing rows, or stops the request when its stored CSV cannot be read."""
    request = lease.request
    try:
        with temporary_file() as file:
            await runtime.storage.download(input_key(request.id), file)
            await _insert_rows(runtime, lease, file)
    except (InvalidCsv, CsvChanged, ObjectMissing):
        log.exception("stored CSV cannot be read", extra={"request": request.id})
        await runtime.db.write(transitions.mark_unreadable, lease)


async def _insert_rows(runtime: Runtime, lease: RequestLease, file: BinaryIO) -> None:
    request, lease_s = lease.request, runtime.settings.lease_seconds
    first, end = request.ingested_products, request.total_products
    rows = await runtime.run_csv_io(_skip_rows, file, first)
    for start in range(first, end, CHUNK_PRODUCTS):
        chunk = await runtime.run_csv_io(_read_products, rows, min(CHUNK_PRODUCTS, end - start))
        if len(chunk) < min(CHUNK_PRODUCTS, end - start):
            raise CsvChanged
        snapshot = await runtime.db.write(create.insert_chunk, lease, chunk, lease_s)
        await publish(runtime, snapshot)
        if start == first:
            await enqueue_workers(runtime, request.id, request.priority)
        await asyncio.sleep(CHUNK_PAUSE_SECONDS)
    if await runtime.run_csv_io(_read_products, rows, 1):
        raise CsvChanged


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
