"""Taking in the rows of an accepted CSV, chunk by chunk, from wherever an earlier attempt ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO
from uuid import UUID

from gql_imgproc.core.locations import input_key
from gql_imgproc.core.manifest import Row, read_rows
from gql_imgproc.core.progress import Snapshot
from gql_imgproc.db import ending, intake
from gql_imgproc.db.intake import NewProduct
from gql_imgproc.errors import ManifestRefused
from gql_imgproc.resources import Resources
from gql_imgproc.services.announcing import tell, wake
from gql_imgproc.services.limits import accepted_limits
from gql_imgproc.services.spool import spooled
from gql_imgproc.states import StopReason

log = logging.getLogger(__name__)

#: Rows inserted in one transaction: 5,000 would hold SQLite's write lock until other writers notice.
CHUNK_PRODUCTS = 2_000
#: Pause after a chunk, so that other writers get the lock, in seconds.
CHUNK_PAUSE_SECONDS = 0.002


async def ingest(resources: Resources, request_id: UUID) -> None:
    """Inserts the rows that are missing, waking workers as they come. Ends at once when another does it."""
    lease_s = resources.settings.lease_seconds
    request = await resources.db.write(lambda connection: intake.hold(connection, request_id, lease_s=lease_s))
    if request is None:
        return
    if request.ingested_products < request.total_products and request.stop_reason is not StopReason.CSV_UNREADABLE:
        try:
            with spooled() as file:
                await resources.storage.download(input_key(request_id), file)
                if not await _insert_rows(resources, request, file):
                    return
        except ManifestRefused:
            log.exception("the stored CSV cannot be read again", extra={"request": str(request_id)})
            await resources.db.write(lambda connection: ending.stop(connection, request_id, StopReason.CSV_UNREADABLE))
    await resources.db.write(lambda connection: intake.release(connection, request_id))
    # It may have been stopped meanwhile; finishing looks at that.
    await tell(resources, lambda: resources.queue.finish(request_id))


async def _insert_rows(resources: Resources, request: Snapshot, file: BinaryIO) -> bool:
    """Inserts from the first missing row on; False when another process took over."""
    rows = await resources.blocking(_skip, file, request.ingested_products)
    while chunk := await resources.blocking(_take, rows, CHUNK_PRODUCTS):
        inserted = await resources.db.write(
            lambda connection, chunk=chunk: intake.insert_chunk(  # type: ignore[misc]  # bound per turn of the loop
                connection, request.id, chunk, lease_s=resources.settings.lease_seconds
            )
        )
        if inserted is None:
            return False
        if chunk[0].position == request.ingested_products:
            await wake(resources, request.id, request.priority)
        await asyncio.sleep(CHUNK_PAUSE_SECONDS)
    return True


def read_chunk(file: BinaryIO, count: int) -> list[NewProduct]:
    """The first rows of a checked CSV."""
    return _take(_skip(file, 0), count)


def _skip(file: BinaryIO, count: int) -> Iterator[Row]:
    file.seek(0)
    rows = read_rows(file, accepted_limits())
    next(islice(rows, count, count), None)
    return rows


def _take(rows: Iterator[Row], count: int) -> list[NewProduct]:
    return [
        NewProduct(row.position, row.serial_number, row.product_name, row.image_urls) for row in islice(rows, count)
    ]
