"""Requests in a database, without CSV, object store or workers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from gql_imgproc.access.quotas import Limits
from gql_imgproc.database.engine import Database
from gql_imgproc.enums import ImageOutcome, ImageStatus, Priority, RequestStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.requests.repository import claims, create, queries, transitions
from gql_imgproc.requests.repository.claims import ClaimedProduct, ImageResult
from gql_imgproc.requests.repository.create import NewProduct, NewRequest
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
    """A new request with one product per number, each with that many images."""
    values: dict[str, Any] = {
        "id": new_id(),
        "tenant_id": DEFAULT_TENANT,
        "priority": Priority.NORMAL,
        "csv_filename": "products.csv",
        "options": {},
        "warnings": [],
        "webhook_url": None,
        "idempotency_key": None,
        "total_products": len(images_per_product),
        "total_images": sum(images_per_product),
    }
    new = NewRequest(**(values | given))
    products = [
        NewProduct(
            position,
            str(position + 1),
            f"product {position}",
            [f"https://x.example/{position}/{n}" for n in range(count)],
        )
        for position, count in enumerate(images_per_product)
    ]

    database.write_now(create.insert_first_chunk, new, products, limits)
    return new.id


def acquire_lease(database: Database, request_id: UUID, lease_s: float = 60) -> RequestLease:
    lease = database.write_now(transitions.acquire, request_id, lease_s)
    assert lease is not None
    return lease


def finish(database: Database, seen: Snapshot, status: RequestStatus, **values: Any) -> Snapshot | None:
    """Finishes a request in the state that was seen."""
    final = FinalState(status, **({"failure_code": None, "output_name": "output-1.csv"} | values))
    lease = acquire_lease(database, seen.id, lease_s=0)
    return database.write_now(transitions.finish, lease, seen, final)


def get_snapshot(database: Database, request_id: UUID) -> Snapshot:
    snapshot = database.read_now(queries.get_request, DEFAULT_TENANT, request_id)
    assert snapshot is not None
    return snapshot


def try_claim(database: Database, request_id: UUID, lease_s: float = 60) -> ClaimedProduct | None:
    return database.write_now(claims.claim_product, request_id, lease_s)


def claim_product(database: Database, request_id: UUID, lease_s: float = 60) -> ClaimedProduct:
    claim = try_claim(database, request_id, lease_s)
    assert claim is not None
    return claim


def record(database: Database, claim: ClaimedProduct, number: int, result: ImageResult) -> Snapshot:
    return database.write_now(claims.record_image, claim, claim.images[number].id, result)
