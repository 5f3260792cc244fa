"""Webhook deliveries on both databases, against a real receiver."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import pytest
import redis
from pydantic import SecretStr
from sqlalchemy import insert, select, update
from standardwebhooks import Webhook

from gql_imgproc.access import signed_urls
from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import requests, webhook_deliveries
from gql_imgproc.database.types import now, now_plus
from gql_imgproc.enums import Priority, RequestPhase, RequestStatus, WebhookStatus
from gql_imgproc.errors import ConfigurationError, NoWebhook, RequestNotFound
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.messaging.queue import CONTROL_QUEUE, NAMESPACE
from gql_imgproc.requests.repository import webhook_outbox
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.url_signature import verify_path
from gql_imgproc.settings import Settings, load
from gql_imgproc.webhooks.delivery import deliver, next_delay_s, resend
from tests.support.api_clients import ANYBODY
from tests.support.api_keys import given_key
from tests.support.webhook_receiver import Receiver, receiver

__all__ = ["receiver"]

OLD_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()

#: A process that makes one attempt for the delivery in its argument.
SENDER = """
import asyncio, sys
from uuid import UUID
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import load
from gql_imgproc.webhooks.delivery import deliver

async def main():
    async with Runtime(load()) as runtime:
        await deliver(runtime, UUID(sys.argv[1]))

asyncio.run(main())
"""


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return load(
        data_dir=tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        public_url="https://img.example.com",
        fetch_allow_networks=(ip_network("127.0.0.0/8"),),
        fetch_allow_ports="*",
        webhook_secret=SECRET,
        # So long that no retry is due within a test; tests call `make_due` or set other delays.
        webhook_retry_delays=(100, 1000),
        webhook_timeout_seconds=5,
    )


def with_changes(settings: Settings, **changes: Any) -> Settings:
    return load(**settings.model_dump() | changes)


def sender_environment(settings: Settings) -> dict[str, str]:
    assert settings.webhook_secret is not None
    return {
        "IMGPROC_DATA_DIR": str(settings.data_dir),
        "IMGPROC_DATABASE_URL": settings.database_url,
        "IMGPROC_REDIS_URL": settings.redis_url,
        "IMGPROC_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
        "IMGPROC_FETCH_ALLOW_PORTS": "*",
        "IMGPROC_WEBHOOK_SECRET": settings.webhook_secret.get_secret_value(),
    }


async def attempt(settings: Settings, delivery_id: UUID, times: int = 1) -> None:
    """Calls `deliver` in a new runtime, as a worker process does."""
    async with Runtime(settings) as runtime:
        for _ in range(times):
            await deliver(runtime, delivery_id)


def given_finished_request(database: Database, webhook_url: str | None, **changes: Any) -> UUID:
    values: dict[str, Any] = {
        "id": new_id(),
        "tenant_id": DEFAULT_TENANT,
        "status": RequestStatus.COMPLETED,
        "phase": RequestPhase.DONE,
        "priority": Priority.NORMAL,
        "generation": 1,
        "csv_filename": "products.csv",
        "options": {},
        "warnings": [],
        "webhook_url": webhook_url,
        "total_products": 1,
        "total_images": 2,
        "processed_images": 2,
        "output_name": "output-1.csv",
        "lease_until": now(),
        "created_at": now(),
        "updated_at": now(),
        "completed_at": now(),
    } | changes
    database.write_now(lambda connection: connection.execute(insert(requests).values(values)))
    request_id: UUID = values["id"]
    return request_id


def given_delivery(database: Database, request_id: UUID, generation: int = 1) -> UUID:
    return database.write_now(webhook_outbox.insert, request_id, generation)


def read_delivery(database: Database, delivery_id: UUID) -> Any:
    return database.read_now(
        lambda connection: connection.execute(
            select(webhook_deliveries).where(webhook_deliveries.c.id == delivery_id)
        ).one()
    )


def read_request(database: Database, request_id: UUID) -> Any:
    return database.read_now(
        lambda connection: connection.execute(select(requests).where(requests.c.id == request_id)).one()
    )


def make_due(database: Database, delivery_id: UUID) -> None:
    database.write_now(
        lambda connection: connection.execute(
            update(webhook_deliveries).where(webhook_deliveries.c.id == delivery_id).values(due_at=now())
        )
    )


def seconds_until(moment: datetime) -> float:
    return (moment - datetime.now(UTC)).total_seconds()


async def test_finished_request_is_delivered_once_and_signed(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    request_id = given_finished_request(database, receiver.url)
    delivery_id = given_delivery(database, request_id)

    await attempt(settings, delivery_id, times=2)

    assert len(receiver.bodies) == 1
    payload = Webhook(SECRET).verify(receiver.bodies[0], receiver.headers[0])
    assert payload["type"] == "request.completed"
    assert payload["data"]["id"] == f"req_{request_id.hex}"
    assert payload["data"]["outputCsvUrl"] == f"https://img.example.com/api/download/req_{request_id.hex}"
    assert receiver.headers[0]["webhook-id"] == f"msg_{delivery_id.hex}"
    row = read_delivery(database, delivery_id)
    assert (row.status, row.attempts, row.last_http_status, row.due_at) == (WebhookStatus.DELIVERED, 1, 204, None)
    [logged] = webhook_outbox.ATTEMPTS.validate_python(row.attempts_log)
    assert (logged.http_status, logged.error) == (204, None)
    assert abs(datetime.now(UTC) - logged.at) < timedelta(minutes=1)
    request = read_request(database, request_id)
    assert (request.webhook_triggered, request.sequence, request.status) == (True, 2, RequestStatus.COMPLETED)


async def test_output_csv_url_is_signed_when_api_keys_are_required(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    """The URL is the same for each planned attempt; a webhook that is sent long after the end gets a new expiry."""
    given_key(database)
    request_id = given_finished_request(database, receiver.url)
    delivery_id = given_delivery(database, request_id)
    receiver.statuses = [500]
    await attempt(settings, delivery_id)
    make_due(database, delivery_id)
    await attempt(settings, delivery_id)
    late = given_finished_request(database, receiver.url, completed_at=now_plus(-30 * 86_400))
    late_id = given_delivery(database, late)
    await attempt(settings, late_id)

    first, second, resent_late = (json.loads(body) for body in receiver.bodies)
    secrets, now_s = database.read_now(signed_urls.read_secrets), time.time()
    assert first == second
    for payload in (first, resent_late):
        url = urlsplit(payload["data"]["outputCsvUrl"])
        query = dict(parse_qsl(url.query))
        assert verify_path(url.path, query, secrets, now_s + 6 * 86_400)
        assert not verify_path(url.path, query, secrets, now_s + 8 * 86_400)


async def test_webhook_is_signed_with_both_secrets_during_a_rotation(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    delivery_id = given_delivery(database, given_finished_request(database, receiver.url))
    rotating = with_changes(settings, webhook_secret=f"{SECRET}, {OLD_SECRET}")

    await attempt(rotating, delivery_id)

    for secret in (SECRET, OLD_SECRET):
        assert Webhook(secret).verify(receiver.bodies[0], receiver.headers[0])


async def test_webhook_is_unsigned_without_a_secret(settings: Settings, database: Database, receiver: Receiver) -> None:
    delivery_id = given_delivery(database, given_finished_request(database, receiver.url))
    unsigned = with_changes(settings, webhook_secret=None)

    await attempt(unsigned, delivery_id)

    assert "webhook-signature" not in receiver.headers[0]
    assert receiver.headers[0]["webhook-id"] == f"msg_{delivery_id.hex}"


async def test_malformed_secret_uses_no_attempt(settings: Settings, database: Database, receiver: Receiver) -> None:
    delivery_id = given_delivery(database, given_finished_request(database, receiver.url))
    # The settings reject a malformed secret; if they did not, the runtime would.
    malformed = settings.model_copy(update={"webhook_secret": SecretStr("whsec_oops")})

    with pytest.raises(ConfigurationError):
        await attempt(malformed, delivery_id)

    assert receiver.bodies == []
    assert read_delivery(database, delivery_id).attempts == 0


async def test_failed_webhook_is_retried_as_planned_and_then_fails(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    receiver.statuses = [500, 302, 500]
    request_id = given_finished_request(database, receiver.url)
    delivery_id = given_delivery(database, request_id)

    rows = []
    for _ in range(4):
        await attempt(settings, delivery_id)
        rows.append(read_delivery(database, delivery_id))
        if rows[-1].due_at is not None:
            make_due(database, delivery_id)

    assert [row.status for row in rows] == [
        WebhookStatus.RETRYING,
        WebhookStatus.RETRYING,
        WebhookStatus.FAILED,
        WebhookStatus.FAILED,
    ]
    assert 85 < seconds_until(rows[0].due_at) < 111
    assert 880 < seconds_until(rows[1].due_at) < 1101
    assert rows[2].due_at is None
    # The fourth call found nothing due.
    assert len(receiver.bodies) == rows[3].attempts == len(rows[3].attempts_log) == 3
    assert [entry["http_status"] for entry in rows[3].attempts_log] == [500, 302, 500]
    assert all(entry["error"] for entry in rows[3].attempts_log)
    # Each attempt sends the same bytes
    assert {headers["webhook-id"] for headers in receiver.headers} == {f"msg_{delivery_id.hex}"}
    assert len(set(receiver.bodies)) == 1
    for body, headers in zip(receiver.bodies, receiver.headers, strict=True):
        assert Webhook(SECRET).verify(body, headers)
    # with a timestamp of its own.
    logged = webhook_outbox.ATTEMPTS.validate_python(rows[3].attempts_log)
    started_at = [int(attempt.at.timestamp()) for attempt in logged]
    assert [int(headers["webhook-timestamp"]) for headers in receiver.headers] == started_at
    request = read_request(database, request_id)
    assert (request.webhook_triggered, request.sequence) == (False, 1)


async def test_receiver_that_is_gone_is_not_called_again(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    receiver.statuses = [410]
    delivery_id = given_delivery(database, given_finished_request(database, receiver.url))

    await attempt(settings, delivery_id)

    row = read_delivery(database, delivery_id)
    assert (row.status, row.attempts, row.last_http_status, row.due_at) == (WebhookStatus.FAILED, 1, 410, None)


async def test_retry_after_of_a_busy_receiver_is_obeyed(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    receiver.statuses, receiver.response_headers = [429], {"retry-after": "5000"}
    delivery_id = given_delivery(database, given_finished_request(database, receiver.url))

    await attempt(settings, delivery_id)

    row = read_delivery(database, delivery_id)
    assert row.status is WebhookStatus.RETRYING
    assert 4990 < seconds_until(row.due_at) <= 5000


async def test_url_that_is_no_longer_allowed_is_not_called(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    delivery_id = given_delivery(database, given_finished_request(database, receiver.url))
    restricted = with_changes(settings, fetch_allow_networks=())

    await attempt(restricted, delivery_id)

    row = read_delivery(database, delivery_id)
    assert (row.status, row.last_http_status) == (WebhookStatus.RETRYING, None)
    assert "127.0.0.1" in row.attempts_log[0]["error"]
    assert receiver.bodies == []


async def test_expired_lease_is_taken_over_and_the_late_result_is_dropped(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    delivery_id = given_delivery(database, given_finished_request(database, receiver.url))
    # A sender whose lease expires at once.
    expired = database.write_now(webhook_outbox.claim_delivery, delivery_id, 0)
    assert expired is not None

    await attempt(settings, delivery_id)
    late = webhook_outbox.DeliveryAttempt(expired.at, None, "The receiver did not respond within 5 seconds.", 5000)
    is_recorded = database.write_now(webhook_outbox.record_attempt, expired, late, 1.0)

    assert is_recorded is False
    row = read_delivery(database, delivery_id)
    assert (row.status, row.attempts, row.due_at, len(row.attempts_log)) == (WebhookStatus.DELIVERED, 2, None, 1)
    assert len(receiver.bodies) == 1


async def test_killed_sender_causes_one_duplicate(settings: Settings, database: Database, receiver: Receiver) -> None:
    receiver.statuses = [0]
    delivery_id = given_delivery(database, given_finished_request(database, receiver.url))
    environment = os.environ | sender_environment(settings)
    sender = await asyncio.create_subprocess_exec(sys.executable, "-c", SENDER, delivery_id.hex, env=environment)
    try:
        assert await asyncio.to_thread(receiver.is_silent.wait, 20)
    finally:
        sender.kill()
        await sender.wait()

    # While the lease of the killed sender is valid, no other process sends it.
    await attempt(settings, delivery_id)
    assert len(receiver.bodies) == 1
    make_due(database, delivery_id)
    await attempt(settings, delivery_id, times=3)

    assert len(receiver.bodies) == 2
    assert {headers["webhook-id"] for headers in receiver.headers} == {f"msg_{delivery_id.hex}"}
    row = read_delivery(database, delivery_id)
    assert (row.status, row.attempts, len(row.attempts_log)) == (WebhookStatus.DELIVERED, 2, 1)


async def test_concurrent_senders_make_one_attempt(settings: Settings, database: Database, receiver: Receiver) -> None:
    delivery_id = given_delivery(database, given_finished_request(database, receiver.url))

    async with Runtime(settings) as runtime:
        await asyncio.gather(*(deliver(runtime, delivery_id) for _ in range(8)))

    assert len(receiver.bodies) == 1
    assert read_delivery(database, delivery_id).attempts == 1


async def test_delivery_of_a_retried_request_is_superseded(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    request_id = given_finished_request(database, receiver.url, status=RequestStatus.PROCESSING, generation=2)
    delivery_id = given_delivery(database, request_id, generation=1)

    await attempt(settings, delivery_id)

    row = read_delivery(database, delivery_id)
    assert (row.status, row.attempts, row.due_at, row.attempts_log) == (WebhookStatus.FAILED, 0, None, [])
    assert receiver.bodies == []


async def test_last_20_attempts_are_logged(settings: Settings, database: Database, receiver: Receiver) -> None:
    receiver.statuses = [500 + number for number in range(22)]
    delivery_id = given_delivery(database, given_finished_request(database, receiver.url))
    retrying = with_changes(settings, webhook_retry_delays=(0,) * 30)

    await attempt(retrying, delivery_id, times=22)

    row = read_delivery(database, delivery_id)
    assert row.attempts == 22
    assert [entry["http_status"] for entry in row.attempts_log] == list(range(502, 522))


async def test_due_deliveries_are_listed_oldest_first(database: Database) -> None:
    first, second, leased, tomorrow = (
        given_delivery(database, given_finished_request(database, "https://shop.example.com/")) for _ in range(4)
    )
    database.write_now(webhook_outbox.claim_delivery, leased, 60)
    database.write_now(
        lambda connection: connection.execute(
            update(webhook_deliveries).where(webhook_deliveries.c.id == tomorrow).values(due_at=now_plus(86_400.0))
        )
    )
    make_due(database, first)

    assert database.read_now(webhook_outbox.list_due, 10) == [second, first]
    assert database.read_now(webhook_outbox.list_due, 1) == [second]


async def test_resend_delivers_again_with_the_same_id(
    settings: Settings, database: Database, receiver: Receiver, redis_url: str
) -> None:
    request_id = given_finished_request(database, receiver.url)
    delivery_id = given_delivery(database, request_id)
    await attempt(settings, delivery_id)

    async with Runtime(settings) as runtime:
        snapshot = await resend(runtime, ANYBODY, request_id)

    assert snapshot.id == request_id
    row = read_delivery(database, delivery_id)
    assert (row.status, row.attempts, len(row.attempts_log)) == (WebhookStatus.PENDING, 1, 1)
    assert enqueued_deliveries(redis_url) == [delivery_id.hex]

    await attempt(settings, delivery_id)

    row = read_delivery(database, delivery_id)
    assert (row.status, row.attempts, len(row.attempts_log)) == (WebhookStatus.DELIVERED, 2, 2)
    assert [headers["webhook-id"] for headers in receiver.headers] == [f"msg_{delivery_id.hex}"] * 2
    # The request changed only once, when its webhook was first delivered.
    assert read_request(database, request_id).sequence == 2


async def test_resend_creates_a_missing_delivery_once(
    settings: Settings, database: Database, receiver: Receiver, redis_url: str
) -> None:
    request_id = given_finished_request(database, receiver.url)

    async with Runtime(settings) as runtime:
        for _ in range(2):
            await resend(runtime, ANYBODY, request_id)

    [first, second] = enqueued_deliveries(redis_url)
    assert first == second
    await attempt(settings, UUID(first))
    assert len(receiver.bodies) == 1


async def test_resend_without_redis_leaves_the_delivery_due(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    request_id = given_finished_request(database, receiver.url)
    without_redis = with_changes(settings, redis_url="unix:///nowhere")

    async with Runtime(without_redis) as runtime:
        await resend(runtime, ANYBODY, request_id)

    assert len(database.read_now(webhook_outbox.list_due, 10)) == 1


async def test_resend_rejects_requests_without_webhook(settings: Settings, database: Database, redis_url: str) -> None:
    without_webhook = given_finished_request(database, None)
    still_open = given_finished_request(database, "https://shop.example.com/", status=RequestStatus.PROCESSING)

    async with Runtime(settings) as runtime:
        with pytest.raises(NoWebhook):
            await resend(runtime, ANYBODY, without_webhook)
        with pytest.raises(NoWebhook):
            await resend(runtime, ANYBODY, still_open)
        with pytest.raises(RequestNotFound):
            await resend(runtime, ANYBODY, new_id())

    assert database.read_now(webhook_outbox.list_due, 10) == []
    assert enqueued_deliveries(redis_url) == []


async def test_retry_delays_follow_the_plan_with_ten_percent_jitter() -> None:
    plan = (5.0, 300.0)

    assert all(4.5 <= (next_delay_s(1, plan, None) or 0) <= 5.5 for _ in range(100))
    assert all(270 <= (next_delay_s(2, plan, None) or 0) <= 330 for _ in range(100))
    assert next_delay_s(3, plan, None) is None
    assert next_delay_s(3, plan, 60) is None
    assert next_delay_s(1, plan, 60) == 60
    assert (next_delay_s(1, plan, 1) or 0) >= 4.5
    assert next_delay_s(1, plan, 10**9) == 86_400


def enqueued_deliveries(redis_url: str) -> list[str]:
    with redis.Redis.from_url(redis_url) as client:
        messages: Any = client.hvals(f"{NAMESPACE}:{CONTROL_QUEUE}.msgs")
        return sorted(json.loads(message)["args"][0] for message in messages)
