"""Given: requests in a database, without CSV, store or workers."""

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
    """A request with one product per number, each with so many images."""
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


def hold(database: Database, request_id: UUID, lease_s: float = 60) -> RequestLease:
    taken = database.write_now(transitions.acquire, request_id, lease_s)
    assert taken is not None
    return taken


def finish(database: Database, state: Snapshot, status: RequestStatus, **end: Any) -> Snapshot | None:
    """Ends a request by the hand of somebody who has seen it like that."""
    given = FinalState(status, **({"failure": None, "output_name": "output-1.csv"} | end))
    held = hold(database, state.id, lease_s=0)
    return database.write_now(transitions.finish, held, state, given)


def now(database: Database, request_id: UUID) -> Snapshot:
    found = database.read_now(queries.get_request, DEFAULT_TENANT, request_id)
    assert found is not None
    return found


def claim(database: Database, request_id: UUID, lease_s: float = 60) -> ClaimedProduct | None:
    return database.write_now(claims.claim_product, request_id, lease_s)


def claimed(database: Database, request_id: UUID, lease_s: float = 60) -> ClaimedProduct:
    found = claim(database, request_id, lease_s)
    assert found is not None
    return found


def record(database: Database, held: ClaimedProduct, number: int, verdict: ImageResult) -> Any:
    return database.write_now(claims.record_image, held, held.images[number].id, verdict)
