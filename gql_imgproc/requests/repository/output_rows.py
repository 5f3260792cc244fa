"""Reads the results of a request's images for its output CSV, its report and its archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import Connection, select

from gql_imgproc.database.tables import images, products
from gql_imgproc.enums import ImageOutcome, ImageStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.requests.repository import image_outputs
from gql_imgproc.requests.repository.image_outputs import FurtherOutput
from gql_imgproc.requests.repository.queries import STORED_BY


@dataclass(frozen=True, slots=True)
class OutputRow:
    """The columns of an image that its output CSV, report and archive need."""

    #: Template of its product's file names.
    file_name: str | None
    #: In its product.
    position: int
    #: The request that stored its object, which may be an earlier one.
    stored_by: UUID
    object_name: str | None
    status: ImageStatus
    outcome: ImageOutcome | None
    error_code: ImageErrorCode | None
    error_message: str | None
    input_bytes: int | None
    output_bytes: int | None
    similarity: float | None
    format: str | None
    width: int | None
    height: int | None
    id: UUID
    #: Its outputs after the first one.
    further: Sequence[FurtherOutput] = ()


_COLUMNS = (products.c.file_name, images.c.position, STORED_BY, *(images.c[name] for name in OutputRow.__slots__[3:-1]))


def read_output_rows(
    connection: Connection, request_id: UUID, start: int, count: int, outputs: int = 1
) -> list[OutputRow]:
    """The images of `count` products from position `start` on, in the order of the CSV.

    `outputs`: how many files the request makes of each image.
    """
    rows = connection.execute(
        select(*_COLUMNS)
        .join(products, images.c.product_id == products.c.id)
        .where(
            products.c.request_id == request_id,
            products.c.position >= start,
            products.c.position < start + count,
        )
        .order_by(products.c.position, images.c.position)
    )
    found = [OutputRow(*row) for row in rows]
    if outputs == 1:
        return found
    further = image_outputs.of_products(connection, request_id, start, count)
    return [replace(row, further=further.get(row.id, ())) for row in found]
