"""SQL of repeats: images whose URL an earlier image of their request has.

A repeat is never claimed. It gets the result of that image, its original, and shares the stored object. It is final
when its original is, unless it was cancelled. It is inserted, or reopened, in a transaction that locks the original:
the one that records the original later sees it, and one that did so before left a result to copy.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Connection, bindparam, null, select, update

from gql_imgproc.database.tables import images, products
from gql_imgproc.enums import ImageStatus
from gql_imgproc.requests.repeated_urls import Place
from gql_imgproc.requests.repository.image_results import FinishedImage, ImageResult
from gql_imgproc.requests.repository.image_statistics import FinalImage

#: What a repeat gets from its original.
COPIED_COLUMNS = ("attempts", *ImageResult.__slots__)
_COUNTED = tuple(images.c[name] for name in FinalImage.__slots__ if name in images.c)

_AT_PLACES = (
    select(images.c.id, products.c.position.label("product_position"), images.c.position)
    .join(products, images.c.product_id == products.c.id)
    .where(
        products.c.request_id == bindparam("request"),
        products.c.position.in_(bindparam("product_positions", expanding=True)),
    )
)
_locked = (
    select(images.c.id)
    .where(images.c.id.in_(bindparam("images", expanding=True)))
    .order_by(images.c.id)
    .with_for_update()
    .cte("locked")
)
_MARK = update(images).where(images.c.id == _locked.c.id).values(has_repeats=True)


def mark_originals(connection: Connection, request_id: UUID, places: Collection[Place]) -> dict[Place, UUID]:
    """Marks images that are about to be repeated, and so locks them; returns their IDs."""
    if not places:
        return {}
    product_positions = list({product_position for product_position, _ in places})
    rows = connection.execute(_AT_PLACES, {"request": request_id, "product_positions": product_positions})
    found = {(row.product_position, row.position): row.id for row in rows}
    ids = {place: found[place] for place in places}
    connection.execute(_MARK, {"images": list(ids.values())})
    return ids


# One that is locked is being cancelled.
_pending = (
    select(images.c.id)
    .where(images.c.original_id == bindparam("original"), images.c.status == ImageStatus.PENDING)
    .order_by(images.c.id)
    .limit(bindparam("max_repeats"))
    .with_for_update(skip_locked=True)
    .cte("repeats")
)
_FINISH = (
    update(images)
    .where(images.c.id == _pending.c.id)
    .values({name: bindparam(f"new_{name}", type_=images.c[name].type) for name in COPIED_COLUMNS})
    .returning(*_COUNTED)
)


def finish_repeats(connection: Connection, original: FinishedImage, max_repeats: int) -> list[FinalImage]:
    """Gives pending repeats the result that their locked original is about to get; at most so many."""
    values = {f"new_{name}": getattr(original.result, name) for name in ImageResult.__slots__}
    values |= {"new_attempts": original.image.attempts, "original": original.image.id}
    rows = connection.execute(_FINISH, {"max_repeats": max_repeats, **values})
    return [FinalImage(*row) for row in rows]


_original = images.alias("original")
_COPY = (
    update(images)
    .where(
        images.c.original_id.in_(bindparam("originals", expanding=True)),
        images.c.status == ImageStatus.PENDING,
        images.c.original_id == _original.c.id,
        _original.c.status != ImageStatus.PENDING,
    )
    .values({"due_at": null(), **{name: _original.c[name] for name in COPIED_COLUMNS}})
    .returning(*_COUNTED)
)


def copy_results(connection: Connection, originals: Collection[UUID]) -> list[FinalImage]:
    """Gives pending repeats the results of their originals that are final already. The originals are locked."""
    if not originals:
        return []
    return [FinalImage(*row) for row in connection.execute(_COPY, {"originals": list(originals)})]
