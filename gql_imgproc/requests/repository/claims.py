"""SQL of a worker: claim a product, renew its lease, record each image, release the product.

Rows are always locked in the order product, image, request. Another order would deadlock on PostgreSQL, and this one
locks the request's row, which all workers need, for the shortest time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, Connection, bindparam, case, exists, func, null, select, update

from gql_imgproc.database.tables import OPEN, images, is_claiming, products, requests
from gql_imgproc.database.types import now, now_plus, seconds_since
from gql_imgproc.enums import ImageOutcome, ImageStatus, Priority, ProductStatus, RequestStatus
from gql_imgproc.errors import ImageErrorCode, LeaseLost
from gql_imgproc.requests.repository import transitions
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, to_snapshot
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.storage.paths import image_path

#: Interval between two measurements of a request's rate.
RATE_SAMPLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ClaimedImage:
    """A pending image of a claimed product."""

    id: UUID
    url: str
    #: Attempts, including this one.
    attempts: int
    #: How often it was decoded in isolation without a result: the worker probably crashed.
    crashes: int


@dataclass(frozen=True, slots=True)
class ClaimedProduct:
    """A product leased to this worker, with its pending images."""

    product_id: UUID
    request_id: UUID
    lease_token: int
    #: Consecutive claims without a result, including this one; from 2 on, an image may crash its workers.
    attempts: int
    images: tuple[ClaimedImage, ...]
    options: dict[str, Any]
    priority: Priority
    #: Open requests of the tenant, including this one.
    open_requests: int
    #: The request, when this claim started it.
    started: Snapshot | None


@dataclass(frozen=True, slots=True)
class ImageResult:
    """Result of an image."""

    status: ImageStatus
    outcome: ImageOutcome | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    object_name: str | None = None
    sha256: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    error_code: ImageErrorCode | None = None
    error_message: str | None = None
    error_http_status: int | None = None
    error_retryable: bool = False


_siblings = requests.alias("siblings")
_open_siblings = (
    select(func.count())
    .where(_siblings.c.tenant_id == requests.c.tenant_id, _siblings.c.status.in_(OPEN))
    .scalar_subquery()
)
_OPEN = select(requests.c.options, requests.c.priority, requests.c.status, _open_siblings.label("open_requests")).where(
    requests.c.id == bindparam("request"),
    is_claiming,
)

_NEXT = (
    select(products.c.id)
    .where(products.c.request_id == bindparam("request"), products.c.due_at <= now())
    .order_by(products.c.due_at, products.c.position)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_CLAIM = (
    update(products)
    .where(products.c.id == _NEXT)
    .values(
        status=ProductStatus.PROCESSING,
        due_at=now_plus(bindparam("lease_s")),
        lease_token=products.c.lease_token + 1,
        attempts=products.c.attempts + 1,
        updated_at=now(),
    )
    .returning(products.c.id, products.c.lease_token, products.c.attempts, products.c.input_image_urls)
)
_COUNT_ATTEMPTS = (
    update(images)
    .where(images.c.product_id == bindparam("product"), images.c.status == ImageStatus.PENDING)
    .values(attempts=images.c.attempts + 1)
    .returning(images.c.id, images.c.position, images.c.attempts, images.c.crashes)
)


def claim_product(connection: Connection, request_id: UUID, lease_s: float) -> ClaimedProduct | None:
    """Claims the next due product; None when none is due, or the request is final or stopping."""
    request = connection.execute(_OPEN, {"request": request_id}).one_or_none()
    if request is None:
        return None
    product = connection.execute(_CLAIM, {"request": request_id, "lease_s": lease_s}).one_or_none()
    if product is None:
        return None
    pending = connection.execute(_COUNT_ATTEMPTS, {"product": product.id}).all()
    if product.attempts > 1:
        # The last worker lost its lease, perhaps between storing an object and recording it.
        transitions.plan_cleanup(connection, request_id)
    started = None
    if request.status is RequestStatus.PENDING:
        started = transitions.start(connection, request_id)
    return ClaimedProduct(
        product_id=product.id,
        request_id=request_id,
        lease_token=product.lease_token,
        attempts=product.attempts,
        images=tuple(
            ClaimedImage(row.id, product.input_image_urls[row.position], row.attempts, row.crashes)
            for row in sorted(pending, key=lambda row: int(row.position))
        ),
        options=request.options,
        priority=request.priority,
        open_requests=request.open_requests,
        started=started,
    )


_SAME_LEASE = (products.c.id == bindparam("product"), products.c.lease_token == bindparam("token"))
# A final product stays final. The worker that finished it keeps its lease; any other change takes a new token.
_RENEW = (
    update(products)
    .where(*_SAME_LEASE)
    .values(due_at=case((products.c.due_at.is_not(None), now_plus(bindparam("lease_s"))), else_=null()))
)


def renew_lease(connection: Connection, claim: ClaimedProduct, lease_s: float) -> bool:
    """False when the lease is lost."""
    values = {"product": claim.product_id, "token": claim.lease_token, "lease_s": lease_s}
    return connection.execute(_RENEW, values).rowcount == 1


# Sets the count instead of incrementing it: a transaction may run twice, and two crashes fail the image.
_MARK_SUSPECT = (
    update(images)
    .where(images.c.id == bindparam("image"), exists().where(*_SAME_LEASE))
    .values(crashes=bindparam("new_crashes"))
)


def mark_crash_suspect(connection: Connection, claim: ClaimedProduct, image_id: UUID) -> bool:
    """Counts a possible crash before the image is decoded in isolation; False when the lease is lost."""
    crashes = next(image.crashes for image in claim.images if image.id == image_id) + 1
    values = {"image": image_id, "product": claim.product_id, "token": claim.lease_token, "new_crashes": crashes}
    return connection.execute(_MARK_SUSPECT, values).rowcount == 1


_RELEASE = (
    update(products)
    .where(*_SAME_LEASE, products.c.due_at.is_not(None))
    .values(due_at=now_plus(bindparam("delay_s")), attempts=0, updated_at=now())
)


def release_product(connection: Connection, claim: ClaimedProduct, delay_s: float) -> None:
    """Releases a product; its pending images are due again after `delay_s`."""
    connection.execute(_RELEASE, {"product": claim.product_id, "token": claim.lease_token, "delay_s": delay_s})


_DONE: BindParameter[int] = bindparam("done")
_FAILED: BindParameter[int] = bindparam("failed")
_product_finished = products.c.processed_images + products.c.failed_images + products.c.cancelled_images + 1
_product_failed = products.c.failed_images + _FAILED
_PRODUCT = (
    update(products)
    .where(*_SAME_LEASE, products.c.due_at.is_not(None))
    .values(
        processed_images=products.c.processed_images + _DONE,
        failed_images=_product_failed,
        status=case(
            (_product_finished < products.c.total_images, ProductStatus.PROCESSING),
            (products.c.cancelled_images > 0, ProductStatus.CANCELLED),
            (_product_failed == 0, ProductStatus.COMPLETED),
            (_product_failed == products.c.total_images, ProductStatus.FAILED),
            else_=ProductStatus.COMPLETED_WITH_ERRORS,
        ),
        due_at=case((_product_finished < products.c.total_images, products.c.due_at), else_=null()),
        updated_at=now(),
    )
    .returning(products.c.status)
)
_IMAGE = (
    update(images)
    .where(images.c.id == bindparam("image"), images.c.status == ImageStatus.PENDING)
    .values({column: bindparam(f"new_{column}") for column in ImageResult.__slots__})
)
_OBJECT_NAMES = (
    select(images.c.object_name).where(images.c.product_id == bindparam("product")).order_by(images.c.position)
)
_OUTPUTS = (
    update(products)
    .where(products.c.id == bindparam("product"))
    .values(output_image_urls=bindparam("urls", type_=products.c.output_image_urls.type))
)
_request_finished = requests.c.processed_images + requests.c.failed_images + requests.c.cancelled_images + 1
_new_images = _request_finished - requests.c.rate_sampled_images
_rate_due = seconds_since(requests.c.rate_sampled_at) >= RATE_SAMPLE_SECONDS
_REQUEST = (
    update(requests)
    .where(requests.c.id == bindparam("request"), is_claiming)
    .values(
        processed_images=requests.c.processed_images + _DONE,
        failed_images=requests.c.failed_images + _FAILED,
        kept_images=requests.c.kept_images + bindparam("kept"),
        processed_products=requests.c.processed_products + bindparam("products_done"),
        failed_products=requests.c.failed_products + bindparam("products_failed"),
        input_bytes=requests.c.input_bytes + bindparam("bytes_in"),
        output_bytes=requests.c.output_bytes + bindparam("bytes_out"),
        images_per_second=case(
            (_rate_due, _new_images / seconds_since(requests.c.rate_sampled_at)),
            else_=requests.c.images_per_second,
        ),
        rate_sampled_images=case((_rate_due, _request_finished), else_=requests.c.rate_sampled_images),
        rate_sampled_at=case((_rate_due, now()), else_=requests.c.rate_sampled_at),
        sequence=requests.c.sequence + 1,
        updated_at=now(),
    )
    .returning(*SNAPSHOT_COLUMNS)
)


def record_image(connection: Connection, claim: ClaimedProduct, image_id: UUID, result: ImageResult) -> Snapshot:
    """Records the result of an image and updates all counters; returns the updated request.

    Raises LeaseLost, which must roll the transaction back, when the lease is lost, the image already has a result, or
    the request is stopping.
    """
    done = int(result.status is ImageStatus.COMPLETED)
    counts = {"done": done, "failed": 1 - done}
    product = connection.execute(
        _PRODUCT, {"product": claim.product_id, "token": claim.lease_token, **counts}
    ).one_or_none()
    if product is None:
        raise LeaseLost
    new = {f"new_{column}": getattr(result, column) for column in ImageResult.__slots__}
    if connection.execute(_IMAGE, {"image": image_id, **new}).rowcount != 1:
        raise LeaseLost
    if product.status is not ProductStatus.PROCESSING:
        _store_output_urls(connection, claim)
    request = connection.execute(
        _REQUEST,
        {
            "request": claim.request_id,
            **counts,
            "kept": int(result.outcome is ImageOutcome.KEPT),
            "products_done": int(product.status is ProductStatus.COMPLETED),
            "products_failed": int(product.status in (ProductStatus.FAILED, ProductStatus.COMPLETED_WITH_ERRORS)),
            "bytes_in": result.input_bytes or 0,
            "bytes_out": result.output_bytes or 0,
        },
    ).one_or_none()
    if request is None:
        raise LeaseLost
    return to_snapshot(request)


def _store_output_urls(connection: Connection, claim: ClaimedProduct) -> None:
    names = connection.execute(_OBJECT_NAMES, {"product": claim.product_id}).scalars()
    urls = [image_path(claim.request_id, name) if name else None for name in names]
    connection.execute(_OUTPUTS, {"product": claim.product_id, "urls": urls})
