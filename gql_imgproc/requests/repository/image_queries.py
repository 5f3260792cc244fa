"""Pages of the images of a request, filtered, in the order of its CSV.

Each takes the caller's tenant, as in `queries`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, func, literal, select

from gql_imgproc.database import text_search
from gql_imgproc.database.pagination import CursorKey, Page, PageWindow, apply_window, bounds_of, has_rows_outside, page
from gql_imgproc.database.tables import images, products, requests
from gql_imgproc.enums import ImageOutcome, ImageStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.requests.repository.queries import IMAGE_COLUMNS, Image
from gql_imgproc.requests.repository.snapshots import request_of_tenant

#: An image with its input URL.
ImageOfRequest = tuple[Image, str]
_POSITIONS = (products.c.position, images.c.position)
#: Columns of `ImageOfRequest`, and the position of its product.
COLUMNS = (*IMAGE_COLUMNS, products.c.input_image_urls, products.c.position.label("product_position"))
#: Larger than the position of any image in its product.
_AFTER_LAST = 2**15
#: Counters of a product that are 0 if it has no such image.
_COUNTERS = {
    ImageStatus.COMPLETED: products.c.processed_images,
    ImageStatus.FAILED: products.c.failed_images,
    ImageStatus.CANCELLED: products.c.cancelled_images,
}


@dataclass(frozen=True, slots=True)
class ImageFilter:
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
    connection: Connection, tenant_id: UUID, request_id: UUID, window: PageWindow, filter: ImageFilter
) -> Page[ImageOfRequest]:
    """Cursor keys are (position of the product, position of the image). One page searches `SEARCH_ROWS` products."""
    own = request_of_tenant(tenant_id, request_id)
    ingested = connection.scalar(select(requests.c.ingested_products).where(*own)) or 0
    return search_page(connection, window, ingested, _of_request(tenant_id, request_id, filter))


def search_page(
    connection: Connection, window: PageWindow, ingested: int, statement: Select[Any]
) -> Page[ImageOfRequest]:
    """A page of the images that a statement with `COLUMNS` finds; one page searches `SEARCH_ROWS` products."""

    def search(window: PageWindow) -> tuple[list[tuple[CursorKey, ImageOfRequest]], CursorKey | None]:
        searched, reached = _limit_search(window, ingested)
        bounds = bounds_of(searched, lambda key: [literal(part) for part in key])
        rows = connection.execute(apply_window(statement, _POSITIONS, bounds, searched)).all()
        return [_to_item(*row) for row in rows], reached

    return text_search.search_page(search, window, _adjacent_key)


def _to_item(*row: Any) -> tuple[CursorKey, ImageOfRequest]:
    *values, urls, product_position = row
    image = Image(*values)
    return (product_position, image.position), (image, urls[image.position])


def images_by_similarity(
    connection: Connection, tenant_id: UUID, request_id: UUID, window: PageWindow
) -> Page[ImageOfRequest]:
    """The images that have a similarity, the least similar ones first; cursor keys are (similarity, ID)."""
    columns = images.c.similarity, images.c.id
    bounds = bounds_of(window, lambda key: (literal(key[0]), literal(key[1], images.c.id.type)))
    statement = _scored(tenant_id, request_id)
    rows = connection.execute(apply_window(statement, columns, bounds, window)).all()
    ids = statement.with_only_columns(images.c.id)
    has_earlier, has_later = has_rows_outside(connection, ids, columns, bounds)
    items = [((row.similarity, row.id), _to_item(*row)[1]) for row in rows]
    return page(items, window, has_earlier=has_earlier, has_later=has_later)


def count_similarities(connection: Connection, tenant_id: UUID, request_id: UUID) -> int:
    """The number of images that have a similarity."""
    counted = _scored(tenant_id, request_id).with_only_columns(func.count())
    return connection.execute(counted).scalar_one()


def _scored(tenant_id: UUID, request_id: UUID) -> Select[Any]:
    # The request of an image and not that of its product: an index has them in order of similarity.
    return _with_urls().where(
        images.c.request_id == request_id, images.c.similarity.is_not(None), products.c.tenant_id == tenant_id
    )


def count_images(connection: Connection, tenant_id: UUID, request_id: UUID, filter: ImageFilter) -> int:
    if filter == ImageFilter():
        counted = select(func.sum(products.c.total_images)).where(*_products(tenant_id, request_id))
    else:
        counted = _of_request(tenant_id, request_id, filter).with_only_columns(func.count())
    return connection.execute(counted).scalar_one() or 0


def _of_request(tenant_id: UUID, request_id: UUID, filter: ImageFilter) -> Select[Any]:
    return _with_urls().where(*_products(tenant_id, request_id), *filter.terms())


def _with_urls() -> Select[Any]:
    return select(*COLUMNS).join_from(products, images, images.c.product_id == products.c.id)


def _products(tenant_id: UUID, request_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return products.c.request_id == request_id, products.c.tenant_id == tenant_id


def _adjacent_key(key: CursorKey, step: int) -> CursorKey:
    return key[0], key[1] + step


def _limit_search(window: PageWindow, ingested: int) -> tuple[PageWindow, CursorKey | None]:
    """The part of a window that one page searches, and the key of its end; None if that is the whole window."""
    # A key of a search that stopped is behind the last image of a product, or before its first one.
    start = 0 if window.after is None else window.after[0] + (window.after[1] >= _AFTER_LAST)
    end = ingested if window.before is None else min(window.before[0] + (window.before[1] > 0), ingested)
    if end - start <= text_search.SEARCH_ROWS:
        return window, None
    if window.backward:
        key = end - text_search.SEARCH_ROWS, 0
        return replace(window, after=_adjacent_key(key, -1)), key
    key = start + text_search.SEARCH_ROWS - 1, _AFTER_LAST
    return replace(window, before=_adjacent_key(key, 1)), key
