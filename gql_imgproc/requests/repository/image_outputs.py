"""SQL of the further outputs of images: which renditions an image has besides its own.

Only images of requests with several outputs have rows. A repeat has none, but the outputs of its original.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from gql_imgproc.database.tables import image_outputs, images, products, renditions
from gql_imgproc.enums import ImageOutcome, ImageStatus
from gql_imgproc.requests.repository.renditions import plan_check


@dataclass(frozen=True, slots=True)
class FurtherOutput:
    """An output of a completed image after the first one."""

    #: In the outputs of the request.
    position: int
    outcome: ImageOutcome
    #: The request that stored its object, which may be an earlier one.
    stored_by: UUID
    object_name: str
    output_bytes: int
    sha256: str
    format: str
    width: int
    height: int
    similarity: float | None
    warning: str | None


def replace(connection: Connection, outputs: Collection[tuple[UUID, int, UUID, ImageOutcome]]) -> None:
    """Records image, position, rendition and outcome of further outputs. The images and renditions are locked.

    An image has some already if its result was recorded for repeats only before its worker was killed.
    """
    if not outputs:
        return
    image_ids = {image_id for image_id, *_ in outputs}
    earlier = set(connection.scalars(_delete(image_outputs.c.image_id.in_(image_ids))))
    connection.execute(
        insert(image_outputs),
        [dict(zip(("image_id", "position", "rendition_id", "outcome"), row, strict=True)) for row in outputs],
    )
    plan_check(connection, earlier - {rendition_id for _, _, rendition_id, _ in outputs})


def delete_of_products(connection: Connection, product_ids: Collection[UUID]) -> set[UUID]:
    """Deletes the rows of the products' images, and returns the renditions that they referred to."""
    of_products = select(images.c.id).where(images.c.product_id.in_(product_ids))
    return set(connection.scalars(_delete(image_outputs.c.image_id.in_(of_products))))


def _delete(*where: ColumnElement[bool]) -> Any:
    return delete(image_outputs).where(*where).returning(image_outputs.c.rendition_id)


_COLUMNS = (
    image_outputs.c.position,
    image_outputs.c.outcome,
    *(renditions.c[name] for name in FurtherOutput.__slots__[2:]),
)
_FURTHER = (
    select(images.c.id, *_COLUMNS)
    .join(image_outputs, image_outputs.c.image_id == func.coalesce(images.c.original_id, images.c.id))
    .join(renditions, renditions.c.id == image_outputs.c.rendition_id)
    .where(images.c.status == ImageStatus.COMPLETED)
    .order_by(image_outputs.c.position)
)


def of_images(connection: Connection, tenant_id: UUID, image_ids: Collection[UUID]) -> dict[UUID, list[FurtherOutput]]:
    """The further outputs of each completed image that has some, in the order of the options."""
    return _group(connection.execute(_FURTHER.where(images.c.id.in_(image_ids), renditions.c.tenant_id == tenant_id)))


def of_products(connection: Connection, request_id: UUID, start: int, count: int) -> dict[UUID, list[FurtherOutput]]:
    """As `of_images`, of the images of `count` products from position `start` on."""
    in_range = products.c.request_id == request_id, products.c.position >= start, products.c.position < start + count
    statement = _FURTHER.join(products, products.c.id == images.c.product_id).where(*in_range)
    return _group(connection.execute(statement))


def _group(rows: Iterable[Any]) -> dict[UUID, list[FurtherOutput]]:
    found: defaultdict[UUID, list[FurtherOutput]] = defaultdict(list)
    for image_id, *values in rows:
        found[image_id].append(FurtherOutput(*values))
    return dict(found)
