"""Reads the results of a request's images for its output CSV."""

from __future__ import annotations

from itertools import groupby
from uuid import UUID

from sqlalchemy import Connection, select

from gql_imgproc.database.tables import images, products
from gql_imgproc.enums import ImageStatus

STOPPED_MESSAGE = "Not done: the request was stopped."


def read_output_rows(
    connection: Connection, request_id: UUID, start: int, count: int
) -> list[list[tuple[str | None, str | None]]]:
    """Object name and error message of each image, for `count` products from position `start` on."""
    rows = connection.execute(
        select(products.c.position, images.c.object_name, images.c.status, images.c.error_message)
        .join(images, images.c.product_id == products.c.id)
        .where(
            products.c.request_id == request_id,
            products.c.position >= start,
            products.c.position < start + count,
        )
        .order_by(products.c.position, images.c.position)
    )
    return [
        [
            (row.object_name, STOPPED_MESSAGE if row.status is ImageStatus.CANCELLED else row.error_message)
            for row in of_product
        ]
        for _, of_product in groupby(rows, key=lambda row: row.position)
    ]
