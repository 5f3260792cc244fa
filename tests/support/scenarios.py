"""Requests in a database, without CSV, object store or workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, select

from gql_imgproc.access.quotas import Limits
from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images
from gql_imgproc.database.tables import lanes as lane_table
from gql_imgproc.enums import ImageOutcome, ImageStatus, Priority, RequestPhase, RequestStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.net.validators import Validators
from gql_imgproc.requests.identity import ProductIdentities
from gql_imgproc.requests.repeated_urls import RepeatedUrls
from gql_imgproc.requests.repository import (
    cancel,
    claims,
    create,
    delete,
    lanes,
    queries,
    renditions,
    results,
    retry,
    transitions,
)
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.create import NewProduct, NewRequest
from gql_imgproc.requests.repository.image_results import (
    FinishedImage,
    ImageResult,
    ReturnedImage,
    ReturnReason,
    StoredOutput,
)
from gql_imgproc.requests.repository.lanes import Lane
from gql_imgproc.requests.repository.renditions import Rendition, Source
from gql_imgproc.requests.repository.transitions import FinalState, RequestLease
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.storage.paths import object_name

DONE = ImageResult(
    status=ImageStatus.COMPLETED,
    outcome=ImageOutcome.COMPRESSED,
    input_bytes=1000,
    output_bytes=400,
    object_name="0-1.jpg",
    sha256="0" * 64,
    format="image/jpeg",
    width=8,
    height=6,
    similarity=81.5,
)
FAILED = ImageResult(
    status=ImageStatus.FAILED,
    error_code=ImageErrorCode.HTTP_STATUS,
    error_message="The host answered 404.",
    error_http_status=404,
)


def given_request(database: Database, *images_per_product: int, limits: Limits | None = None, **given: Any) -> UUID:
    """A new request with one product per number, each with that many images of one host."""
    urls = (
        [f"https://x.example/{position}/{n}" for n in range(count)] for position, count in enumerate(images_per_product)
    )
    return given_urls(database, *urls, limits=limits, **given)


def given_urls(
    database: Database, *urls_per_product: Sequence[str], limits: Limits | None = None, **given: Any
) -> UUID:
    """A new request with one product per list of URLs."""
    values: dict[str, Any] = {
        "id": new_id(),
        "tenant_id": DEFAULT_TENANT,
        "priority": Priority.NORMAL,
        "csv_filename": "products.csv",
        "options": {},
        "warnings": [],
        "webhook_url": None,
        "idempotency_key": None,
        "total_products": len(urls_per_product),
        "total_images": sum(len(urls) for urls in urls_per_product),
    }
    new = NewRequest(**(values | given))
    repeated_urls, identities = RepeatedUrls(), ProductIdentities()
    products = [
        NewProduct(
            position,
            str(position + 1),
            f"product {position}",
            urls,
            repeated_urls.find(position, urls),
            identity=identities.identify(str(position + 1)),
        )
        for position, urls in enumerate(urls_per_product)
    ]
    database.write_now(create.insert_first_chunk, new, products, limits)
    return new.id


def acquire_lease(database: Database, request_id: UUID, lease_s: float = 60) -> RequestLease:
    lease = database.write_now(transitions.acquire, request_id, lease_s)
    assert lease is not None
    return lease


def finish(database: Database, request_id: UUID, status: RequestStatus, **values: Any) -> Snapshot | None:
    """Finishes a request without pending images; None when there are some."""
    final = FinalState(status, **({"failure_code": None, "output_name": "output-1.csv"} | values))
    lease = database.write_now(transitions.acquire, request_id, 0)
    if lease is None:
        return None
    database.write_now(transitions.start_finishing, lease)
    return database.write_now(transitions.finish, lease, final)


def cancel_all(database: Database, request_id: UUID) -> RequestLease:
    """Cancels the pending images of a stopping request; it is FINISHING then. Returns the lease."""
    lease = acquire_lease(database, request_id)
    while database.write_now(cancel.cancel_chunk, lease).phase is RequestPhase.STOPPING:
        pass
    return lease


def reopen_all(database: Database, request_id: UUID) -> Snapshot:
    """Reopens the images of a request that is being retried."""
    lease = acquire_lease(database, request_id)
    while (request := database.write_now(retry.reopen_chunk, lease)).phase is RequestPhase.RETRYING:
        pass
    database.write_now(transitions.release, lease)
    return request


def delete_all(database: Database, request_id: UUID) -> None:
    """Deletes the rows of a request that is being deleted."""
    lease = acquire_lease(database, request_id)
    while not database.write_now(delete.delete_chunk, lease):
        pass


def get_snapshot(database: Database, request_id: UUID) -> Snapshot:
    snapshot = database.read_now(queries.get_request, DEFAULT_TENANT, request_id)
    assert snapshot is not None
    return snapshot


def ready_lanes(connection: Connection, request_id: UUID) -> list[Lane]:
    statement = select(lane_table.c.id, lane_table.c.request_id, lane_table.c.host)
    rows = connection.execute(statement.where(lane_table.c.request_id == request_id, lane_table.c.ready))
    return sorted((Lane(*row) for row in rows), key=lambda lane: lane.host)


def try_claim(database: Database, request_id: UUID, count: int = 1, lease_s: float = 60) -> tuple[ClaimedImage, ...]:
    """Claims up to `count` due images of each ready lane of a request."""

    def claim(connection: Connection) -> tuple[ClaimedImage, ...]:
        lanes.wake_due_lanes(connection)
        wanted = dict.fromkeys(ready_lanes(connection, request_id), count)
        return claims.claim_images(connection, wanted, {}, lease_s).images

    return database.write_now(claim)


def claim_image(database: Database, request_id: UUID, lease_s: float = 60) -> ClaimedImage:
    (image,) = try_claim(database, request_id, 1, lease_s)
    return image


def finished_image(image: ClaimedImage, result: ImageResult = DONE, content: bytes | None = None) -> FinishedImage:
    """A result with a new object, if the image is completed. By default, its bytes are those of no other URL."""
    if result.status is not ImageStatus.COMPLETED:
        return FinishedImage(image, result)
    assert result.outcome is not None
    content_id = renditions.content_id(image.tenant_id, content or image.url.encode())
    rendition = Rendition(
        id=(id := uuid4()),
        content_id=content_id,
        fingerprint=image.fingerprints[0],
        stored_by=image.request_id,
        object_name=object_name(id, "jpg"),
        outcome=result.outcome,
        input_bytes=result.input_bytes or 0,
        output_bytes=result.output_bytes or 0,
        sha256="0" * 64,
        format=result.format or "image/jpeg",
        width=8,
        height=6,
        similarity=result.similarity,
        warning=result.error_message,
    )
    source = Source(renditions.source_id(image.tenant_id, image.url), content_id, Validators('"1"'))
    return replace(FinishedImage.completed(image, [StoredOutput(rendition, is_new=True)]), source=source)


def reused_image(image: ClaimedImage, rendition: Rendition) -> FinishedImage:
    return FinishedImage.completed(image, [StoredOutput(rendition, is_new=False)])


def record(database: Database, image: ClaimedImage, result: ImageResult) -> Snapshot:
    recorded = database.write_now(results.record, [finished_image(image, result)], [])
    assert not recorded.lost
    (snapshot,) = recorded.snapshots
    return snapshot


def stored_names(connection: Connection, request_id: UUID) -> list[str]:
    """Object names of the completed images of a request."""
    is_stored = images.c.request_id == request_id, images.c.object_name.is_not(None)
    return [name for name in connection.scalars(select(images.c.object_name).where(*is_stored)) if name]


def give_back(
    database: Database, image: ClaimedImage, delay_s: float = 0, reason: ReturnReason = ReturnReason.FAILED
) -> None:
    database.write_now(results.record, [], [ReturnedImage(image, reason, delay_s)])
