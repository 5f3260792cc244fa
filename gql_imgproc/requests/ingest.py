"""Inserts the rows of an accepted CSV in chunks, starting where an earlier attempt stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from gql_imgproc.csvfile.layout import CsvLayout
from gql_imgproc.csvfile.reader import read_products
from gql_imgproc.enums import RequestPhase
from gql_imgproc.errors import InvalidCsv, ObjectMissing
from gql_imgproc.imaging.options import Options
from gql_imgproc.requests.file_names import name_product
from gql_imgproc.requests.identity import ProductIdentities
from gql_imgproc.requests.limits import accepted_csv_limits
from gql_imgproc.requests.notify import permit_work, publish
from gql_imgproc.requests.repeated_urls import RepeatedUrls
from gql_imgproc.requests.repository import create, queries, transitions
from gql_imgproc.requests.repository.create import NewProduct
from gql_imgproc.requests.repository.transitions import RequestLease
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.time_slice import TimeSlice
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.paths import input_key
from gql_imgproc.storage.temporary_file import temporary_file

log = logging.getLogger(__name__)

#: Rows, and about how many images, that are inserted in one transaction; with 5,000 rows, other writers would notice
#: the wait for SQLite's lock.
CHUNK_PRODUCTS, CHUNK_IMAGES = 2_000, 4_000
#: Pause after each chunk, so that other writers can acquire the lock.
CHUNK_PAUSE_SECONDS = 0.002


class _CsvChanged(Exception):
    """The stored CSV has another number of rows than when it was accepted."""


async def ingest(runtime: Runtime, lease: RequestLease, request: Snapshot, time_slice: TimeSlice) -> Snapshot | None:
    """Inserts missing rows until the time slice ends; those of a stopping request as cancelled.

    Stops the request when its stored CSV cannot be read.
    """
    try:
        with temporary_file() as file:
            await runtime.storage.download(input_key(request.id), file)
            return await _insert_rows(runtime, lease, request, file, time_slice)
    except (InvalidCsv, _CsvChanged, ObjectMissing):
        log.exception("stored CSV cannot be read", extra={"request": request.id})
        return await runtime.db.write(transitions.mark_unreadable, lease)


async def _insert_rows(
    runtime: Runtime, lease: RequestLease, request: Snapshot, file: BinaryIO, time_slice: TimeSlice
) -> Snapshot:
    is_stopping = request.phase is RequestPhase.STOPPING
    insert = create.insert_cancelled_chunk if is_stopping else create.insert_chunk
    first = request.ingested_products
    layout = await runtime.db.read(queries.get_csv_layout, request.id)
    products = iter_products(file, layout, Options.from_json(request.options).file_name)
    await runtime.run_csv_io(_skip, products, first)
    while (left := request.total_products - request.ingested_products) > 0:
        # One product more than there should be, at the end.
        chunk = await runtime.run_csv_io(read_chunk, products, min(CHUNK_PRODUCTS, left + 1))
        if len(chunk) > left or not chunk:
            raise _CsvChanged
        request = await runtime.db.write(insert, lease, chunk)
        publish(runtime, request)
        if chunk[0].position == first and not is_stopping:
            await permit_work(runtime)
        await asyncio.sleep(CHUNK_PAUSE_SECONDS)
        if await time_slice.is_over():
            break
    return request


def iter_products(file: BinaryIO, layout: CsvLayout, template: str | None) -> Iterator[NewProduct]:
    """Yields the products of a checked CSV. `template` is that of file names."""
    file.seek(0)
    repeated_urls, identities = RepeatedUrls(), ProductIdentities()
    for product in read_products(file, accepted_csv_limits(), layout):
        repeats = repeated_urls.find(product.position, product.image_urls)
        number, name = product.serial_number, product.product_name
        file_name = name_product(template, layout.profile, number, name)
        identity = identities.identify(number)
        yield NewProduct(product.position, number, name, product.image_urls, repeats, file_name, identity)


def read_chunk(products: Iterator[NewProduct], max_products: int) -> list[NewProduct]:
    """The next products: at most so many, and about `CHUNK_IMAGES` images."""
    chunk, images = [], 0
    for product in islice(products, max_products):
        chunk.append(product)
        images += len(product.image_urls)
        if images >= CHUNK_IMAGES:
            break
    return chunk


def _skip(products: Iterator[NewProduct], count: int) -> None:
    next(islice(products, count, count), None)
