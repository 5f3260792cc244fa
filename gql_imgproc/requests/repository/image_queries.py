"""Pages of the images of a request, filtered, in the order of its CSV.

Each takes the caller's tenant, as in `queries`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, func, select

from gql_imgproc.database import text_search
from gql_imgproc.database.pagination import CursorKey, Page, PageWindow, read_page
from gql_imgproc.database.tables import images, products
from gql_imgproc.enums import ImageOutcome, ImageStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.requests.repository.queries import IMAGE_COLUMNS, Image, ingested_products

#: An image with its input URL.
ImageOfRequest = tuple[Image, str]
_POSITIONS = (products.c.position, images.c.position)
#: Columns of `ImageOfRequest`, and the position of its product.
COLUMNS = (*IMAGE_COLUMNS, products.c.input_image_urls, products.c.position.label("product_position"))
#: Counters of a product that are 0 if it has no such image.
_COUNTERS = {
    ImageStatus.COMPLETED: products.c.processed_images,
    ImageStatus.FAILED: products.c.failed_images,
    ImageStatus.CANCELLED: products.c.cancelled_images,
}


@dataclass(frozen=True, slots=True)
class ImageSelection:
    """Selects images of a request; only completed ones have an outcome, and only failed ones an error."""

    status: ImageStatus | None = None
    outcome: ImageOutcome | None = None
    error_code: ImageErrorCode | None = None

    def terms(self) -> list[ColumnElement[bool]]:
        values = (
            (images.c.status, self.status),
            (images.c.outcome, self.outcome),
            (images.c.error_code, self.error_code),
        )
        terms = [column == value for column, value in values if value is not None]
        implied = ImageStatus.FAILED if self.error_code else ImageStatus.COMPLETED if self.outcome else self.status
        return [*terms, _COUNTERS[implied] > 0] if implied in _COUNTERS else terms


def images_page(
    connection: Connection, tenant_id: UUID, request_id: UUID, window: PageWindow, filter: ImageSelection
) -> Page[ImageOfRequest]:
    """Cursor keys are (position of the product, position of the image). One page searches `SEARCH_ROWS` products."""
    statement = _of_request(tenant_id, request_id, filter)
    return search_page(connection, window, ingested_products(connection, tenant_id, request_id), statement)


def search_page(
    connection: Connection, window: PageWindow, ingested: int, statement: Select[Any]
) -> Page[ImageOfRequest]:
    """A page of the images that a statement with `COLUMNS` finds; one page searches `SEARCH_ROWS` products."""
    return text_search.page_by_position(connection, statement, _POSITIONS, window, ingested, lambda row: _to_item(*row))


def _to_item(*row: Any) -> tuple[CursorKey, ImageOfRequest]:
    *values, urls, product_position = row
    image = Image(*values)
    return (product_position, image.position), (image, urls[image.position])


def images_by_similarity(
    connection: Connection, tenant_id: UUID, request_id: UUID, window: PageWindow
) -> Page[ImageOfRequest]:
    """The images that have a similarity, the least similar ones first; cursor keys are (similarity, ID)."""
    columns = images.c.similarity, images.c.id
    statement = _scored(tenant_id, request_id)
    return read_page(connection, statement, columns, window, lambda row: ((row.similarity, row.id), _to_item(*row)[1]))


def count_similarities(connection: Connection, tenant_id: UUID, request_id: UUID) -> int:
    """The number of images that have a similarity."""
    counted = _scored(tenant_id, request_id).with_only_columns(func.count())
    return connection.execute(counted).scalar_one()


def _scored(tenant_id: UUID, request_id: UUID) -> Select[Any]:
    # The request of an image and not that of its product: an index has them in order of similarity.
    return _with_urls().where(
        images.c.request_id == request_id, images.c.similarity.is_not(None), products.c.tenant_id == tenant_id
    )


def count_images(connection: Connection, tenant_id: UUID, request_id: UUID, filter: ImageSelection) -> int:
    if filter == ImageSelection():
        counted = select(func.sum(products.c.total_images)).where(*_products(tenant_id, request_id))
    else:
        counted = _of_request(tenant_id, request_id, filter).with_only_columns(func.count())
    return connection.execute(counted).scalar_one() or 0


def _of_request(tenant_id: UUID, request_id: UUID, filter: ImageSelection) -> Select[Any]:
    return _with_urls().where(*_products(tenant_id, request_id), *filter.terms())


def _with_urls() -> Select[Any]:
    return select(*COLUMNS).join_from(products, images, images.c.product_id == products.c.id)


def _products(tenant_id: UUID, request_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return products.c.request_id == request_id, products.c.tenant_id == tenant_id
