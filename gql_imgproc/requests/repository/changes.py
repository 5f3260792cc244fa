"""SQL that compares a finished request with an earlier one.

A product is found again by its identity, and an image by its URL within its product. An image is unchanged if it has
the same stored object, or none in both requests; a product, if its name and all its images are: then it has the same
fingerprint. What is gone are the rows of the earlier request without a counterpart.

Each takes the caller's tenant, as in `queries`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, case, exists, func, or_, select, tuple_

from gql_imgproc.database.pagination import Page, PageWindow
from gql_imgproc.database.tables import images, products, requests
from gql_imgproc.enums import ChangeKind, RequestPhase, RequestStatus
from gql_imgproc.requests.repository import image_queries, product_queries
from gql_imgproc.requests.repository.image_queries import ImageOfRequest
from gql_imgproc.requests.repository.queries import PRODUCT_COLUMNS, Product
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, to_snapshot
from gql_imgproc.requests.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class ChangeCounts:
    added: int
    changed: int
    gone: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two finished requests of a tenant."""

    request: Snapshot
    earlier: Snapshot

    def side(self, kind: ChangeKind) -> tuple[Snapshot, Snapshot]:
        """The request whose rows are of this kind, and the other one."""
        return (self.earlier, self.request) if kind is ChangeKind.GONE else (self.request, self.earlier)


_own = requests.alias("own")
_lacks_identity = exists().where(
    products.c.request_id == requests.c.id, products.c.position == 0, products.c.identity.is_(None)
)


def find_comparison(
    connection: Connection, tenant_id: UUID, request_id: UUID, earlier_id: UUID | None = None
) -> Comparison | None:
    """The request and the one to compare it with: without its ID, the last one before with the same file name.

    None unless both are finished. Of requests of earlier versions, nothing identifies the products.
    """
    is_comparable = requests.c.tenant_id == tenant_id, requests.c.phase == RequestPhase.DONE, ~_lacks_identity
    statement = select(*SNAPSHOT_COLUMNS).where(*is_comparable)
    if earlier_id is None:
        is_before = tuple_(requests.c.created_at, requests.c.id) < tuple_(_own.c.created_at, _own.c.id)
        earlier = (
            statement.join(_own, _own.c.csv_filename == requests.c.csv_filename)
            .where(_own.c.id == request_id, is_before, requests.c.status.in_(_COMPLETED))
            .order_by(requests.c.created_at.desc(), requests.c.id.desc())
            .limit(1)
        )
    else:
        earlier = statement.where(requests.c.id == earlier_id)
    both = statement.where(requests.c.id == request_id), earlier
    found = [to_snapshot(row) for each in both if (row := connection.execute(each).one_or_none())]
    return Comparison(*found) if len(found) == 2 else None


_COMPLETED = RequestStatus.COMPLETED, RequestStatus.COMPLETED_WITH_ERRORS
_other, _counterpart = products.alias("other"), images.alias("counterpart")
_has_other = _other.c.id.is_not(None)
_differs = products.c.fingerprint.is_distinct_from(_other.c.fingerprint)
#: Conditions of the products of a request. One that is gone is "added" if the requests change places.
_PRODUCTS: dict[ChangeKind, ColumnElement[bool]] = {
    ChangeKind.ADDED: ~_has_other,
    ChangeKind.CHANGED: and_(_has_other, _differs),
    ChangeKind.GONE: ~_has_other,
    ChangeKind.UNCHANGED: ~_differs,
}
_has_url = (
    exists()
    .where(_counterpart.c.product_id == _other.c.id, _counterpart.c.url_digest == images.c.url_digest)
    .correlate(images, _other)
)
_has_object = _has_url.where(_counterpart.c.object_name.is_not_distinct_from(images.c.object_name))
#: The same of its images. Those of equal products are not read one by one.
_IMAGES: dict[ChangeKind, ColumnElement[bool]] = {
    ChangeKind.ADDED: and_(_differs, ~_has_url),
    ChangeKind.CHANGED: and_(_differs, _has_url, ~_has_object),
    ChangeKind.GONE: and_(_differs, ~_has_url),
    ChangeKind.UNCHANGED: or_(~_differs, _has_object),
}


def products_page(
    connection: Connection, tenant_id: UUID, comparison: Comparison, window: PageWindow, kind: ChangeKind
) -> Page[Product]:
    """Cursor keys are (position,)."""
    request, other = comparison.side(kind)
    statement = _compare(tenant_id, request, other, *PRODUCT_COLUMNS).where(_PRODUCTS[kind])
    return product_queries.search_page(connection, window, request.ingested_products, statement)


def images_page(
    connection: Connection, tenant_id: UUID, comparison: Comparison, window: PageWindow, kind: ChangeKind
) -> Page[ImageOfRequest]:
    """Cursor keys are (position of the product, position of the image)."""
    request, other = comparison.side(kind)
    statement = _with_images(_compare(tenant_id, request, other, *image_queries.COLUMNS)).where(_IMAGES[kind])
    return image_queries.search_page(connection, window, request.ingested_products, statement)


def count_products(connection: Connection, tenant_id: UUID, comparison: Comparison) -> ChangeCounts:
    request, earlier = comparison.request, comparison.earlier
    conditions = _PRODUCTS[ChangeKind.ADDED], _PRODUCTS[ChangeKind.CHANGED]
    added, changed = connection.execute(_compare(tenant_id, request, earlier, *map(_count, conditions))).one()
    remaining = request.ingested_products - added
    return ChangeCounts(added, changed, earlier.ingested_products - remaining, remaining - changed)


def count_images(connection: Connection, tenant_id: UUID, comparison: Comparison) -> ChangeCounts:
    def count(*kinds: ChangeKind) -> list[int]:
        columns = (_count(_IMAGES[kind]) for kind in kinds)
        statement = _compare(tenant_id, *comparison.side(kinds[0]), *columns)
        return list(connection.execute(_with_images(statement).where(_differs)).one())

    added, changed = count(ChangeKind.ADDED, ChangeKind.CHANGED)
    (gone,) = count(ChangeKind.GONE)
    return ChangeCounts(added, changed, gone, comparison.request.finished_images - added - changed)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


def _compare(tenant_id: UUID, request: Snapshot, other: Snapshot, *columns: ColumnElement[Any]) -> Select[Any]:
    is_counterpart = and_(_other.c.request_id == other.id, _other.c.identity == products.c.identity)
    return (
        select(*columns)
        .select_from(products.outerjoin(_other, is_counterpart))
        # By position: SQLite would read the rows in the order of their identities, which takes twice the time.
        .where(products.c.request_id == request.id, products.c.position >= 0, products.c.tenant_id == tenant_id)
    )


def _with_images(statement: Select[Any]) -> Select[Any]:
    return statement.join(images, images.c.product_id == products.c.id)
