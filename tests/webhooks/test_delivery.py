"""Webhooks from the end of a request to the receiver's answer, on both databases, against a real receiver."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from threading import Event, Thread
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
from gql_imgproc.enums import Priority, RequestStatus, WebhookStatus
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

OLD_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()

#: A worker that sends the one webhook that its argument names.
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


@dataclass
class Receiver:
    """Answers with `statuses` one after the other, then with 204, and keeps what it was sent; 0 is no answer."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    answer_headers: dict[str, str] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    silent: Event = field(default_factory=Event)
    released: Event = field(default_factory=Event)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            receiver.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            status = receiver.statuses.pop(0) if receiver.statuses else 204
            if status == 0:
                receiver.silent.set()
                receiver.released.wait(20)
                return
            self.send_response(status)
            for name, value in receiver.answer_headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield receiver
        receiver.released.set()
        server.shutdown()
        thread.join()


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
        # Long enough that nothing is due again within a test, unless a test says so.
        webhook_retry_delays=(100, 1000),
        webhook_timeout_seconds=5,
    )


def but(settings: Settings, **changes: Any) -> Settings:
    return load(**settings.model_dump() | changes)


def variables(settings: Settings) -> dict[str, str]:
    """The settings that matter to a sender, for the environment of a process."""
    assert settings.webhook_secret is not None
    return {
        "IMGPROC_DATA_DIR": str(settings.data_dir),
        "IMGPROC_DATABASE_URL": settings.database_url,
        "IMGPROC_REDIS_URL": settings.redis_url,
        "IMGPROC_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
        "IMGPROC_FETCH_ALLOW_PORTS": "*",
        "IMGPROC_WEBHOOK_SECRET": settings.webhook_secret.get_secret_value(),
    }


def run(settings: Settings, work: Callable[[Runtime], Awaitable[object]], times: int = 1) -> Any:
    """Does `work` with the resources of a process, so many times one after the other; gives what came last."""

    async def in_process() -> object:
        result: object = None
        async with Runtime(settings) as runtime:
            for _ in range(times):
                result = await work(runtime)
        return result

    return asyncio.run(in_process())


def ended_request(database: Database, webhook_url: str | None, **changes: Any) -> UUID:
    values: dict[str, Any] = {
        "id": new_id(),
        "tenant_id": DEFAULT_TENANT,
        "status": RequestStatus.COMPLETED,
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


def planned(database: Database, request_id: UUID, generation: int = 1) -> UUID:
    return database.write_now(webhook_outbox.insert, request_id, generation)


def delivery_of(database: Database, delivery_id: UUID) -> Any:
    return database.read_now(
        lambda connection: connection.execute(
            select(webhook_deliveries).where(webhook_deliveries.c.id == delivery_id)
        ).one()
    )


def request_of(database: Database, request_id: UUID) -> Any:
    return database.read_now(
        lambda connection: connection.execute(select(requests).where(requests.c.id == request_id)).one()
    )


def make_due(database: Database, delivery_id: UUID) -> None:
    """As if the planned moment had come."""
    database.write_now(
        lambda connection: connection.execute(
            update(webhook_deliveries).where(webhook_deliveries.c.id == delivery_id).values(due_at=now())
        )
    )


def seconds_until(moment: datetime) -> float:
    return (moment - datetime.now(UTC)).total_seconds()


def test_the_end_of_a_request_is_told_once_and_signed(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    request_id = ended_request(database, receiver.url)
    delivery_id = planned(database, request_id)

    run(settings, lambda runtime: deliver(runtime, delivery_id), times=2)

    assert len(receiver.bodies) == 1
    told = Webhook(SECRET).verify(receiver.bodies[0], receiver.headers[0])
    assert told["type"] == "request.completed"
    assert told["data"]["id"] == f"req_{request_id.hex}"
    assert told["data"]["outputCsvUrl"] == f"https://img.example.com/api/download/req_{request_id.hex}"
    assert receiver.headers[0]["webhook-id"] == f"msg_{delivery_id.hex}"
    row = delivery_of(database, delivery_id)
    assert (row.status, row.attempts, row.last_http_status, row.due_at) == (WebhookStatus.DELIVERED, 1, 204, None)
    [attempt] = map(webhook_outbox.Attempt.from_json, row.attempts_log)
    assert (attempt.http_status, attempt.error) == (204, None)
    assert abs(datetime.now(UTC) - attempt.at) < timedelta(minutes=1)
    request = request_of(database, request_id)
    assert (request.webhook_triggered, request.sequence, request.status) == (True, 2, RequestStatus.COMPLETED)


def test_where_keys_are_asked_for_the_output_opens_without_one_by_the_address_in_the_webhook(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    """It is the same on each planned try; one that is sent long after is good from then on."""
    given_key(database)
    request_id = ended_request(database, receiver.url)
    delivery_id = planned(database, request_id)
    receiver.statuses = [500]
    run(settings, lambda runtime: deliver(runtime, delivery_id))
    make_due(database, delivery_id)
    run(settings, lambda runtime: deliver(runtime, delivery_id))
    late = ended_request(database, receiver.url, completed_at=now_plus(-30 * 86_400))
    late_id = planned(database, late)
    run(settings, lambda runtime: deliver(runtime, late_id))

    first, again, of_old = (json.loads(body) for body in receiver.bodies)
    secrets, now_s = database.read_now(signed_urls.read_secrets), time.time()
    assert first == again
    for told in (first, of_old):
        address = urlsplit(told["data"]["outputCsvUrl"])
        query = dict(parse_qsl(address.query))
        assert verify_path(address.path, query, secrets, now_s + 6 * 86_400)
        assert not verify_path(address.path, query, secrets, now_s + 8 * 86_400)


def test_both_secrets_sign_during_a_rotation(settings: Settings, database: Database, receiver: Receiver) -> None:
    delivery_id = planned(database, ended_request(database, receiver.url))
    rotating = but(settings, webhook_secret=f"{SECRET}, {OLD_SECRET}")

    run(rotating, lambda runtime: deliver(runtime, delivery_id))

    for secret in (SECRET, OLD_SECRET):
        assert Webhook(secret).verify(receiver.bodies[0], receiver.headers[0])


def test_without_a_secret_it_is_sent_unsigned(settings: Settings, database: Database, receiver: Receiver) -> None:
    delivery_id = planned(database, ended_request(database, receiver.url))
    open_settings = but(settings, webhook_secret=None)

    run(open_settings, lambda runtime: deliver(runtime, delivery_id))

    assert "webhook-signature" not in receiver.headers[0]
    assert receiver.headers[0]["webhook-id"] == f"msg_{delivery_id.hex}"


def test_a_malformed_secret_uses_up_no_try(settings: Settings, database: Database, receiver: Receiver) -> None:
    delivery_id = planned(database, ended_request(database, receiver.url))
    # Settings refuse it; one that came past them is refused with the resources.
    malformed = settings.model_copy(update={"webhook_secret": SecretStr("whsec_oops")})

    with pytest.raises(ConfigurationError):
        run(malformed, lambda runtime: deliver(runtime, delivery_id))

    assert receiver.bodies == []
    assert delivery_of(database, delivery_id).attempts == 0


def test_it_is_tried_again_as_planned_and_then_given_up(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    receiver.statuses = [500, 302, 500]
    request_id = ended_request(database, receiver.url)
    delivery_id = planned(database, request_id)

    rows = []
    for _ in range(4):
        run(settings, lambda runtime: deliver(runtime, delivery_id))
        rows.append(delivery_of(database, delivery_id))
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
    # The fourth found nothing due.
    assert len(receiver.bodies) == rows[3].attempts == len(rows[3].attempts_log) == 3
    assert [entry["http_status"] for entry in rows[3].attempts_log] == [500, 302, 500]
    assert all(entry["error"] for entry in rows[3].attempts_log)
    # The same message each time, down to the byte.
    assert {headers["webhook-id"] for headers in receiver.headers} == {f"msg_{delivery_id.hex}"}
    assert len(set(receiver.bodies)) == 1
    for body, headers in zip(receiver.bodies, receiver.headers, strict=True):
        assert Webhook(SECRET).verify(body, headers)
    # A timestamp of its own each time.
    begun = [int(webhook_outbox.Attempt.from_json(entry).at.timestamp()) for entry in rows[3].attempts_log]
    assert [int(headers["webhook-timestamp"]) for headers in receiver.headers] == begun
    request = request_of(database, request_id)
    assert (request.webhook_triggered, request.sequence) == (False, 1)


def test_a_receiver_that_is_gone_is_left_alone(settings: Settings, database: Database, receiver: Receiver) -> None:
    receiver.statuses = [410]
    delivery_id = planned(database, ended_request(database, receiver.url))

    run(settings, lambda runtime: deliver(runtime, delivery_id))

    row = delivery_of(database, delivery_id)
    assert (row.status, row.attempts, row.last_http_status, row.due_at) == (WebhookStatus.FAILED, 1, 410, None)


def test_a_busy_receiver_gets_the_pause_it_asks_for(settings: Settings, database: Database, receiver: Receiver) -> None:
    receiver.statuses, receiver.answer_headers = [429], {"retry-after": "5000"}
    delivery_id = planned(database, ended_request(database, receiver.url))

    run(settings, lambda runtime: deliver(runtime, delivery_id))

    row = delivery_of(database, delivery_id)
    assert row.status is WebhookStatus.RETRYING
    assert 4990 < seconds_until(row.due_at) <= 5000


def test_an_address_that_is_no_longer_allowed_is_not_called(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    delivery_id = planned(database, ended_request(database, receiver.url))
    closed = but(settings, fetch_allow_networks=())

    run(closed, lambda runtime: deliver(runtime, delivery_id))

    row = delivery_of(database, delivery_id)
    assert (row.status, row.last_http_status) == (WebhookStatus.RETRYING, None)
    assert "127.0.0.1" in row.attempts_log[0]["error"]
    assert receiver.bodies == []


def test_after_a_crash_it_is_sent_by_another_and_the_late_word_is_dropped(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    delivery_id = planned(database, ended_request(database, receiver.url))
    # A sender that stops, with a lease that runs out at once.
    stopped = database.write_now(webhook_outbox.claim_delivery, delivery_id, 0)
    assert stopped is not None

    run(settings, lambda runtime: deliver(runtime, delivery_id))
    late = webhook_outbox.Attempt(stopped.at, None, "No answer came within 5 seconds.", 5000)
    written = database.write_now(webhook_outbox.record, stopped, late, 1.0)

    assert written is False
    row = delivery_of(database, delivery_id)
    assert (row.status, row.attempts, row.due_at, len(row.attempts_log)) == (WebhookStatus.DELIVERED, 2, None, 1)
    assert len(receiver.bodies) == 1


def test_a_killed_sender_costs_one_repetition(settings: Settings, database: Database, receiver: Receiver) -> None:
    receiver.statuses = [0]
    delivery_id = planned(database, ended_request(database, receiver.url))
    sender = subprocess.Popen([sys.executable, "-c", SENDER, delivery_id.hex], env=os.environ | variables(settings))
    try:
        assert receiver.silent.wait(20)
    finally:
        sender.kill()
        sender.wait()

    # Nobody sends it while the lease of the dead runs.
    run(settings, lambda runtime: deliver(runtime, delivery_id))
    assert len(receiver.bodies) == 1
    make_due(database, delivery_id)
    run(settings, lambda runtime: deliver(runtime, delivery_id), times=3)

    assert len(receiver.bodies) == 2
    assert {headers["webhook-id"] for headers in receiver.headers} == {f"msg_{delivery_id.hex}"}
    row = delivery_of(database, delivery_id)
    assert (row.status, row.attempts, len(row.attempts_log)) == (WebhookStatus.DELIVERED, 2, 1)


def test_two_senders_at_once_make_one_delivery(settings: Settings, database: Database, receiver: Receiver) -> None:
    delivery_id = planned(database, ended_request(database, receiver.url))

    async def at_once(runtime: Runtime) -> None:
        await asyncio.gather(*(deliver(runtime, delivery_id) for _ in range(8)))

    run(settings, at_once)

    assert len(receiver.bodies) == 1
    assert delivery_of(database, delivery_id).attempts == 1


def test_an_end_that_is_none_any_more_is_not_told(settings: Settings, database: Database, receiver: Receiver) -> None:
    request_id = ended_request(database, receiver.url, status=RequestStatus.PROCESSING, generation=2)
    delivery_id = planned(database, request_id, generation=1)

    run(settings, lambda runtime: deliver(runtime, delivery_id))

    row = delivery_of(database, delivery_id)
    assert (row.status, row.attempts, row.due_at, row.attempts_log) == (WebhookStatus.FAILED, 0, None, [])
    assert receiver.bodies == []


def test_the_last_20_tries_are_remembered(settings: Settings, database: Database, receiver: Receiver) -> None:
    receiver.statuses = [500 + number for number in range(22)]
    delivery_id = planned(database, ended_request(database, receiver.url))
    often = but(settings, webhook_retry_delays=(0,) * 30)

    run(often, lambda runtime: deliver(runtime, delivery_id), times=22)

    row = delivery_of(database, delivery_id)
    assert row.attempts == 22
    assert [entry["http_status"] for entry in row.attempts_log] == list(range(502, 522))


def test_due_lists_what_waits_longest_first(database: Database) -> None:
    first, second, leased, tomorrow = (
        planned(database, ended_request(database, "https://shop.example.com/")) for _ in range(4)
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


def test_resend_delivers_again_under_the_same_name(
    settings: Settings, database: Database, receiver: Receiver, redis_url: str
) -> None:
    request_id = ended_request(database, receiver.url)
    delivery_id = planned(database, request_id)
    run(settings, lambda runtime: deliver(runtime, delivery_id))

    snapshot = run(settings, lambda runtime: resend(runtime, ANYBODY, request_id))

    assert snapshot.id == request_id
    row = delivery_of(database, delivery_id)
    assert (row.status, row.attempts, len(row.attempts_log)) == (WebhookStatus.PENDING, 1, 1)
    assert woken(redis_url) == [delivery_id.hex]

    run(settings, lambda runtime: deliver(runtime, delivery_id))

    row = delivery_of(database, delivery_id)
    assert (row.status, row.attempts, len(row.attempts_log)) == (WebhookStatus.DELIVERED, 2, 2)
    assert [headers["webhook-id"] for headers in receiver.headers] == [f"msg_{delivery_id.hex}"] * 2
    # The request has changed once only: when its webhook was first taken.
    assert request_of(database, request_id).sequence == 2


def test_resend_makes_the_delivery_that_is_missing(
    settings: Settings, database: Database, receiver: Receiver, redis_url: str
) -> None:
    request_id = ended_request(database, receiver.url)

    run(settings, lambda runtime: resend(runtime, ANYBODY, request_id), times=2)

    [first, second] = woken(redis_url)
    assert first == second
    run(settings, lambda runtime: deliver(runtime, UUID(first)))
    assert len(receiver.bodies) == 1


def test_resend_without_redis_waits_for_the_sweep(settings: Settings, database: Database, receiver: Receiver) -> None:
    request_id = ended_request(database, receiver.url)
    alone = but(settings, redis_url="unix:///nowhere")

    run(alone, lambda runtime: resend(runtime, ANYBODY, request_id))

    assert len(database.read_now(webhook_outbox.list_due, 10)) == 1


def test_resend_refuses_what_has_no_webhook(settings: Settings, database: Database, redis_url: str) -> None:
    without = ended_request(database, None)
    still_open = ended_request(database, "https://shop.example.com/", status=RequestStatus.PROCESSING)

    with pytest.raises(NoWebhook):
        run(settings, lambda runtime: resend(runtime, ANYBODY, without))
    with pytest.raises(NoWebhook):
        run(settings, lambda runtime: resend(runtime, ANYBODY, still_open))
    with pytest.raises(RequestNotFound):
        run(settings, lambda runtime: resend(runtime, ANYBODY, new_id()))

    assert database.read_now(webhook_outbox.list_due, 10) == []
    assert woken(redis_url) == []


def test_the_pauses_are_those_of_the_plan_give_or_take_a_tenth() -> None:
    plan = (5.0, 300.0)

    assert all(4.5 <= (next_delay_s(1, plan, None) or 0) <= 5.5 for _ in range(100))
    assert all(270 <= (next_delay_s(2, plan, None) or 0) <= 330 for _ in range(100))
    assert next_delay_s(3, plan, None) is None
    assert next_delay_s(3, plan, 60) is None
    assert next_delay_s(1, plan, 60) == 60
    assert (next_delay_s(1, plan, 1) or 0) >= 4.5
    assert next_delay_s(1, plan, 10**9) == 86_400


def woken(redis_url: str) -> list[str]:
    """The deliveries that workers were told of."""
    with redis.Redis.from_url(redis_url) as client:
        messages: Any = client.hvals(f"{NAMESPACE}:{CONTROL_QUEUE}.msgs")
        return sorted(json.loads(message)["args"][0] for message in messages)
