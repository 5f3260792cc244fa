"""Requests in a database, without CSV, object store or workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from gql_imgproc.access.quotas import Limits
from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import lanes as lane_table
from gql_imgproc.enums import ImageOutcome, ImageStatus, Priority, RequestPhase, RequestStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.requests.repository import cancel, claims, create, delete, lanes, queries, results, retry, transitions
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.create import NewProduct, NewRequest
from gql_imgproc.requests.repository.lanes import Lane
from gql_imgproc.requests.repository.results import FinishedImage, ImageResult, ReturnedImage, ReturnReason
from gql_imgproc.requests.repository.transitions import FinalState, RequestLease
from gql_imgproc.requests.snapshot import Snapshot

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
    products = [
        NewProduct(position, str(position + 1), f"product {position}", urls)
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


def record(database: Database, image: ClaimedImage, result: ImageResult) -> Snapshot:
    recorded = database.write_now(results.record, [FinishedImage(image, result)], [])
    assert not recorded.lost
    (snapshot,) = recorded.snapshots
    return snapshot


def give_back(
    database: Database, image: ClaimedImage, delay_s: float = 0, reason: ReturnReason = ReturnReason.FAILED
) -> None:
    database.write_now(results.record, [], [ReturnedImage(image, reason, delay_s)])
