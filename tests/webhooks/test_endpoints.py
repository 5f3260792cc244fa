"""Webhook endpoints on both databases, against a real receiver: events, secrets, and the rules that disable one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from jsonschema import Draft202012Validator, FormatChecker
from sqlalchemy import event as sql_event
from sqlalchemy import select, update
from standardwebhooks import Webhook, WebhookVerificationError

from gql_imgproc.access import audit_log
from gql_imgproc.database.engine import Database
from gql_imgproc.database.pagination import PageWindow
from gql_imgproc.database.tables import endpoint_deliveries, webhook_endpoints, webhook_secrets
from gql_imgproc.database.types import now, now_plus
from gql_imgproc.enums import AuditAction, EndpointDisabledReason, RequestStatus, WebhookEventType, WebhookStatus
from gql_imgproc.errors import SecretsKeyMissing, WebhookEndpointInvalid, WebhookEndpointNotFound
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.maintenance.retention import DELIVERY_LOG_SECONDS, delete_old_deliveries
from gql_imgproc.requests.repository import endpoint_outbox, transitions, webhook_outbox
from gql_imgproc.requests.repository.endpoint_outbox import MAX_FAILING_SECONDS
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Caller, system_caller
from gql_imgproc.settings import Settings
from gql_imgproc.webhooks import endpoints, repository
from gql_imgproc.webhooks.delivery import deliver
from gql_imgproc.webhooks.endpoints import MAX_ENABLED, IssuedSecret
from gql_imgproc.webhooks.repository import WebhookEndpoint
from tests.support.api_keys import given_tenant
from tests.support.scenarios import DONE, FAILED, claim_image, delete_all, finish, given_request, record
from tests.support.webhook_receiver import Receiver, receiver
from tests.webhooks.test_delivery import (
    SECRET,
    SENDER,
    given_delivery,
    given_finished_request,
    sender_environment,
    with_changes,
)
from tests.webhooks.test_delivery import settings as settings_without_key

__all__ = ["receiver", "settings_without_key"]

ADMIN = system_caller(DEFAULT_TENANT, "admin")
EVERY_TYPE = tuple(kind for kind in WebhookEventType if kind is not WebhookEventType.WEBHOOK_TEST)
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "webhook-events.schema.json").read_text("utf-8"))
DAY = timedelta(days=1)


@pytest.fixture
def settings(settings_without_key: Settings) -> Settings:
    return with_changes(settings_without_key, secrets_key=Fernet.generate_key().decode())


@pytest.fixture
async def runtime(settings: Settings) -> AsyncIterator[Runtime]:
    async with Runtime(settings) as runtime:
        yield runtime


async def given_endpoint(
    runtime: Runtime, url: str, types: Iterable[WebhookEventType] = EVERY_TYPE, caller: Caller = ADMIN
) -> IssuedSecret[WebhookEndpoint]:
    return await endpoints.create(runtime, caller, url, tuple(types))


async def deliver_all(runtime: Runtime) -> int:
    """Makes each attempt that is due once. Returns their number."""
    due = await runtime.db.read(webhook_outbox.list_due, 100)
    for delivery_id in due:
        await deliver(runtime, delivery_id)
    return len(due)


def make_due(database: Database) -> None:
    """Makes the next attempt of each delivery due that has one."""
    planned = endpoint_deliveries.c.due_at.is_not(None)
    database.write_now(
        lambda connection: connection.execute(update(endpoint_deliveries).where(planned).values(due_at=now()))
    )


def read_rows(database: Database, table: Any) -> list[Any]:
    return database.read_now(lambda connection: list(connection.execute(select(table).order_by(table.c.id))))


def read_actions(database: Database, tenant_id: UUID = DEFAULT_TENANT) -> list[tuple[AuditAction, dict[str, str]]]:
    page = database.read_now(audit_log.events_page, tenant_id, PageWindow(100, None, None, backward=False))
    return [(event.action, event.details) for _, event in reversed(page.rows)]


def finish_images(database: Database, request_id: UUID, *results: Any) -> None:
    for result in results:
        record(database, claim_image(database, request_id), result)


def assert_matches_schema(payload: dict[str, Any]) -> None:
    """Checks a payload; every property of it is described."""
    Draft202012Validator(SCHEMA, format_checker=FormatChecker()).validate(payload)
    (kind,) = (kind for kind in SCHEMA["oneOf"] if kind["properties"]["type"]["const"] == payload["type"])
    described = kind["properties"]["data"]["properties"].keys()
    if "allOf" in kind["properties"]["data"]:
        described |= SCHEMA["$defs"]["request"]["properties"].keys()
    assert payload["data"].keys() == described


async def test_endpoint_receives_the_events_of_each_request_signed_with_its_secret(
    runtime: Runtime, database: Database, receiver: Receiver
) -> None:
    created = await given_endpoint(runtime, receiver.url)

    request_id = given_request(database, 4)
    finish_images(database, request_id, DONE, DONE, FAILED, DONE)
    assert finish(database, request_id, RequestStatus.COMPLETED_WITH_ERRORS) is not None
    failed_id = given_request(database, 1)
    finish_images(database, failed_id, FAILED)
    assert finish(database, failed_id, RequestStatus.FAILED, output_name=None) is not None
    await endpoints.send_test(runtime, ADMIN, created.endpoint.id)

    assert await deliver_all(runtime) == 6
    payloads = [
        Webhook(created.text).verify(body, headers)
        for body, headers in zip(receiver.bodies, receiver.headers, strict=True)
    ]
    assert [payload["type"] for payload in payloads] == [
        *("request.progressed", "request.progressed", "request.progressed", "request.completed"),
        *("request.failed", "webhook.test"),
    ]
    assert [payload["data"].get("progressPercent") for payload in payloads[:4]] == [25.0, 50.0, 75.0, None]
    assert payloads[3]["data"]["outputCsvUrl"] == f"https://img.example.com/api/download/req_{request_id.hex}"
    assert payloads[5]["data"] == {"endpointId": f"whe_{created.endpoint.id.hex}"}
    for payload in payloads:
        assert_matches_schema(payload)
    assert len({headers["webhook-id"] for headers in receiver.headers}) == 6
    assert await deliver_all(runtime) == 0


def test_schema_of_events_is_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA)


async def test_cancelled_request_matches_the_schema(runtime: Runtime, database: Database, receiver: Receiver) -> None:
    await given_endpoint(runtime, receiver.url)
    request_id = given_request(database, 1)
    finish_images(database, request_id, DONE)
    assert finish(database, request_id, RequestStatus.CANCELLED) is not None

    await deliver_all(runtime)

    (payload,) = map(json.loads, receiver.bodies)
    assert payload["type"] == "request.cancelled"
    assert_matches_schema(payload)


async def test_only_chosen_events_of_the_own_tenant_are_sent(runtime: Runtime, database: Database) -> None:
    other = system_caller(given_tenant(database, "other"), "admin")
    completed = await given_endpoint(runtime, "https://one.example/", [WebhookEventType.REQUEST_COMPLETED])
    progressed = await given_endpoint(runtime, "https://two.example/", [WebhookEventType.REQUEST_PROGRESSED])
    await given_endpoint(runtime, "https://other.example/", caller=other)

    request_id = given_request(database, 2)
    finish_images(database, request_id, DONE, DONE)
    assert finish(database, request_id, RequestStatus.COMPLETED) is not None

    sent = {(row.endpoint_id, row.event_type) for row in read_rows(database, endpoint_deliveries)}
    assert sent == {
        (completed.endpoint.id, WebhookEventType.REQUEST_COMPLETED),
        (progressed.endpoint.id, WebhookEventType.REQUEST_PROGRESSED),
    }


async def test_progress_costs_one_statement_for_each_quarter(runtime: Runtime, database: Database) -> None:
    await given_endpoint(runtime, "https://one.example/", [WebhookEventType.REQUEST_COMPLETED])
    request_id = given_request(database, 8)
    reads: list[str] = []

    def note(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        if "webhook_endpoints" in statement or "endpoint_deliveries" in statement:
            reads.append(statement)

    sql_event.listen(database._writer, "before_cursor_execute", note)
    finish_images(database, request_id, *[DONE] * 8)

    assert len(reads) == 3
    assert all(statement.startswith("SELECT") for statement in reads)


async def test_each_delivery_is_retried_by_itself(runtime: Runtime, database: Database, receiver: Receiver) -> None:
    await given_endpoint(runtime, receiver.url)
    await given_endpoint(runtime, receiver.url + "?second")
    request_id = given_request(database, 1)
    finish_images(database, request_id, DONE)
    assert finish(database, request_id, RequestStatus.COMPLETED) is not None
    receiver.statuses = [500]

    await deliver_all(runtime)

    rows = read_rows(database, endpoint_deliveries)
    assert sorted(row.status for row in rows) == [WebhookStatus.DELIVERED, WebhookStatus.RETRYING]
    make_due(database)
    assert await deliver_all(runtime) == 1
    rows = read_rows(database, endpoint_deliveries)
    assert sorted((row.status, row.attempts) for row in rows) == [
        (WebhookStatus.DELIVERED, 1),
        (WebhookStatus.DELIVERED, 2),
    ]
    assert len({headers["webhook-id"] for headers in receiver.headers}) == 2
    assert receiver.bodies[0] == receiver.bodies[2] or receiver.bodies[1] == receiver.bodies[2]


async def test_event_stays_the_same_when_the_request_changes(
    runtime: Runtime, database: Database, receiver: Receiver
) -> None:
    await given_endpoint(runtime, receiver.url)
    request_id = given_request(database, 4)
    finish_images(database, request_id, DONE)
    receiver.statuses = [500]
    await deliver_all(runtime)

    finish_images(database, request_id, DONE, DONE, DONE)
    make_due(database)
    await deliver_all(runtime)

    assert receiver.bodies[0] == receiver.bodies[1]
    assert json.loads(receiver.bodies[1])["data"]["processedImages"] == 1


async def test_killed_sender_causes_one_duplicate_at_an_endpoint(
    settings: Settings, runtime: Runtime, database: Database, receiver: Receiver
) -> None:
    created = await given_endpoint(runtime, receiver.url)
    delivery = await endpoints.send_test(runtime, ADMIN, created.endpoint.id)
    receiver.statuses = [0]
    assert settings.secrets_key is not None
    environment = os.environ | sender_environment(settings)
    environment |= {"IMGPROC_SECRETS_KEY": settings.secrets_key.get_secret_value()}
    sender = await asyncio.create_subprocess_exec(sys.executable, "-c", SENDER, delivery.id.hex, env=environment)
    try:
        assert await asyncio.to_thread(receiver.is_silent.wait, 20)
    finally:
        sender.kill()
        await sender.wait()

    # While the lease of the killed sender is valid, no other process sends it.
    assert await deliver_all(runtime) == 0
    make_due(database)
    assert await deliver_all(runtime) == 1
    assert await deliver_all(runtime) == 0

    assert {headers["webhook-id"] for headers in receiver.headers} == {f"msg_{delivery.id.hex}"}
    assert len(receiver.bodies) == 2
    (row,) = read_rows(database, endpoint_deliveries)
    assert (row.status, row.attempts, len(row.attempts_log)) == (WebhookStatus.DELIVERED, 2, 1)


# --- Secrets.


def is_signed_with(secret: str, receiver: Receiver, message: int = -1) -> bool:
    try:
        Webhook(secret).verify(receiver.bodies[message], receiver.headers[message])
    except WebhookVerificationError:
        return False
    return True


async def test_both_secrets_sign_during_the_overlap(runtime: Runtime, database: Database, receiver: Receiver) -> None:
    created = await given_endpoint(runtime, receiver.url)
    id = created.endpoint.id

    rotated = await endpoints.rotate_secret(runtime, ADMIN, id, DAY)
    await endpoints.send_test(runtime, ADMIN, id)
    await deliver_all(runtime)

    signatures = receiver.headers[0]["webhook-signature"].split(" ")
    assert [signature[:3] for signature in signatures] == ["v1,", "v1,"]
    assert is_signed_with(created.text, receiver)
    assert is_signed_with(rotated.text, receiver)

    # Without an overlap, only the new one signs.
    last = await endpoints.rotate_secret(runtime, ADMIN, id, timedelta(0))
    await endpoints.send_test(runtime, ADMIN, id)
    await deliver_all(runtime)
    assert [is_signed_with(secret, receiver) for secret in (created.text, rotated.text, last.text)] == [
        *(False, False, True)
    ]
    assert len(read_rows(database, webhook_secrets)) == 2
    assert [action for action, _ in read_actions(database)] == [
        AuditAction.WEBHOOK_ENDPOINT_CREATED,
        AuditAction.WEBHOOK_SECRET_ROTATED,
        AuditAction.WEBHOOK_SECRET_ROTATED,
    ]


async def test_url_of_an_upload_is_signed_with_the_secret_of_its_tenant(
    runtime: Runtime, database: Database, receiver: Receiver
) -> None:
    other = given_tenant(database, "other")
    own, foreign = (
        given_delivery(database, given_finished_request(database, receiver.url, tenant_id=tenant))
        for tenant in (DEFAULT_TENANT, other)
    )

    # Until a tenant has a secret, the secret of the service signs;
    await deliver(runtime, own)
    assert is_signed_with(SECRET, receiver)
    # for the overlap after its first secret, both sign, so that receivers can change to it.
    first = await endpoints.rotate_secret(runtime, ADMIN, None, DAY)
    database.write_now(reset, own)
    await deliver(runtime, own)
    assert is_signed_with(SECRET, receiver)
    assert is_signed_with(first.text, receiver)
    # Then only its own secret signs, and the other tenant's webhooks stay as they are.
    database.write_now(end_overlap)
    database.write_now(reset, own)
    await deliver(runtime, own)
    assert not is_signed_with(SECRET, receiver)
    assert is_signed_with(first.text, receiver)
    await deliver(runtime, foreign)
    assert is_signed_with(SECRET, receiver)
    assert not is_signed_with(first.text, receiver)


def reset(connection: Any, delivery_id: UUID) -> None:
    table = webhook_outbox.webhook_deliveries
    connection.execute(update(table).where(table.c.id == delivery_id).values(due_at=now()))


def end_overlap(connection: Any) -> None:
    connection.execute(update(webhook_secrets).values(service_secret_until=now_plus(-1.0)))


async def test_secrets_are_stored_encrypted(runtime: Runtime, settings: Settings, database: Database) -> None:
    created = await given_endpoint(runtime, "https://one.example/")
    own = await endpoints.rotate_secret(runtime, ADMIN, None, DAY)

    rows = read_rows(database, webhook_secrets)
    assert [row.owner_id for row in rows] == [created.endpoint.id, DEFAULT_TENANT]
    assert settings.secrets_key is not None
    key = Fernet(settings.secrets_key.get_secret_value())
    for row, secret in zip(rows, (created.text, own.text), strict=True):
        assert secret.removeprefix("whsec_") not in str(row)
        assert key.decrypt(row.ciphertext) == secret.encode()


async def test_key_of_the_settings_can_be_rotated(settings: Settings, runtime: Runtime, receiver: Receiver) -> None:
    created = await given_endpoint(runtime, receiver.url)
    await endpoints.send_test(runtime, ADMIN, created.endpoint.id)
    assert settings.secrets_key is not None
    both = f"{Fernet.generate_key().decode()}, {settings.secrets_key.get_secret_value()}"

    async with Runtime(with_changes(settings, secrets_key=both)) as with_both:
        await deliver_all(with_both)

    assert is_signed_with(created.text, receiver)


async def test_new_secret_signs_although_the_key_of_the_previous_one_is_lost(
    settings: Settings, runtime: Runtime, receiver: Receiver
) -> None:
    created = await given_endpoint(runtime, receiver.url)

    async with Runtime(with_changes(settings, secrets_key=Fernet.generate_key().decode())) as with_other_key:
        rotated = await endpoints.rotate_secret(with_other_key, ADMIN, created.endpoint.id, DAY)
        await endpoints.send_test(with_other_key, ADMIN, created.endpoint.id)
        await deliver_all(with_other_key)

    assert is_signed_with(rotated.text, receiver)
    assert not is_signed_with(created.text, receiver)


@pytest.mark.parametrize("key", [None, f"{'A' * 43}="])
async def test_webhook_is_not_sent_when_its_secret_cannot_be_read(
    settings: Settings, runtime: Runtime, database: Database, receiver: Receiver, key: str | None
) -> None:
    """Neither unsigned nor signed with another secret; and that is no failure of the endpoint."""
    created = await given_endpoint(runtime, receiver.url)
    await endpoints.send_test(runtime, ADMIN, created.endpoint.id)

    async with Runtime(with_changes(settings, secrets_key=key)) as without_key:
        await deliver_all(without_key)

    assert receiver.bodies == []
    (row,) = read_rows(database, endpoint_deliveries)
    assert row.status is WebhookStatus.RETRYING
    assert "IMGPROC_SECRETS_KEY" in row.attempts_log[0]["error"]
    (endpoint,) = read_rows(database, webhook_endpoints)
    assert endpoint.failing_since is None
    make_due(database)
    await deliver_all(runtime)
    assert is_signed_with(created.text, receiver)


async def test_secrets_need_a_key(settings: Settings, database: Database) -> None:
    async with Runtime(with_changes(settings, secrets_key=None)) as runtime:
        with pytest.raises(SecretsKeyMissing, match=r"must set IMGPROC_SECRETS_KEY .* `head -c 32 .*` generates one"):
            await given_endpoint(runtime, "https://one.example/")
        with pytest.raises(SecretsKeyMissing):
            await endpoints.rotate_secret(runtime, ADMIN, None, DAY)

    assert read_rows(database, webhook_endpoints) == []
    assert read_actions(database) == []


# --- Creation and the rules that disable an endpoint.


@pytest.mark.parametrize(
    ("url", "types", "field"),
    [
        ("http://10.0.0.1/hook", EVERY_TYPE, "url"),
        ("http://user:pass@one.example/", EVERY_TYPE, "url"),
        ("ftp://one.example/", EVERY_TYPE, "url"),
        ("https://one.example/", (), "eventTypes"),
        ("https://one.example/", (WebhookEventType.WEBHOOK_TEST,), "eventTypes"),
    ],
)
async def test_invalid_endpoint_is_refused(
    runtime: Runtime, database: Database, url: str, types: tuple[WebhookEventType, ...], field: str
) -> None:
    with pytest.raises(WebhookEndpointInvalid) as refused:
        await given_endpoint(runtime, url, types)

    assert refused.value.field == field
    assert read_rows(database, webhook_endpoints) == read_rows(database, webhook_secrets) == []


async def test_endpoint_that_is_no_longer_allowed_is_not_called(
    settings: Settings, runtime: Runtime, database: Database, receiver: Receiver
) -> None:
    created = await given_endpoint(runtime, receiver.url)
    await endpoints.send_test(runtime, ADMIN, created.endpoint.id)

    async with Runtime(with_changes(settings, fetch_allow_networks=())) as restricted:
        await deliver_all(restricted)

    assert receiver.bodies == []
    (row,) = read_rows(database, endpoint_deliveries)
    assert "127.0.0.1" in row.attempts_log[0]["error"]


async def test_enabled_endpoints_are_limited(runtime: Runtime) -> None:
    created = [await given_endpoint(runtime, "https://one.example/") for _ in range(MAX_ENABLED)]
    first = created[0].endpoint.id

    with pytest.raises(WebhookEndpointInvalid, match="20 enabled endpoints"):
        await given_endpoint(runtime, "https://one.example/")
    await endpoints.disable(runtime, ADMIN, first)
    await given_endpoint(runtime, "https://one.example/")
    with pytest.raises(WebhookEndpointInvalid, match="20 enabled endpoints"):
        await endpoints.enable(runtime, ADMIN, first)

    assert (await endpoints.disable(runtime, ADMIN, first)).disabled_at is not None


async def test_disabled_endpoint_gets_nothing_until_it_is_enabled(
    runtime: Runtime, database: Database, receiver: Receiver
) -> None:
    created = await given_endpoint(runtime, receiver.url)
    id = created.endpoint.id
    await endpoints.send_test(runtime, ADMIN, id)

    disabled = await endpoints.disable(runtime, ADMIN, id)
    request_id = given_request(database, 1)
    finish_images(database, request_id, DONE)
    assert finish(database, request_id, RequestStatus.COMPLETED) is not None
    await deliver_all(runtime)

    assert disabled.disabled_reason is EndpointDisabledReason.CALLER
    assert receiver.bodies == []
    (row,) = read_rows(database, endpoint_deliveries)
    assert (row.status, row.attempts, row.due_at) == (WebhookStatus.FAILED, 0, None)
    enabled = await endpoints.enable(runtime, ADMIN, id)
    assert (enabled.disabled_at, enabled.disabled_reason) == (None, None)
    await endpoints.send_test(runtime, ADMIN, id)
    await deliver_all(runtime)
    assert len(receiver.bodies) == 1


async def test_endpoint_that_is_gone_is_disabled(runtime: Runtime, database: Database, receiver: Receiver) -> None:
    created = await given_endpoint(runtime, receiver.url)
    await endpoints.send_test(runtime, ADMIN, created.endpoint.id)
    receiver.statuses = [410]

    await deliver_all(runtime)

    (endpoint,) = read_rows(database, webhook_endpoints)
    assert endpoint.disabled_reason is EndpointDisabledReason.GONE
    assert endpoint.disabled_at is not None
    action, details = read_actions(database)[-1]
    assert action is AuditAction.WEBHOOK_ENDPOINT_DISABLED
    assert details["reason"] == "GONE"
    (row,) = read_rows(database, endpoint_deliveries)
    assert (row.status, row.last_http_status, row.due_at) == (WebhookStatus.FAILED, 410, None)


async def test_endpoint_that_fails_for_five_days_is_disabled(
    runtime: Runtime, database: Database, receiver: Receiver
) -> None:
    created = await given_endpoint(runtime, receiver.url)
    receiver.statuses = [500, 204, 500, 503, 500]

    async def attempt_after(failing_s: float) -> Any:
        """Makes a new attempt when the endpoint has been failing for so long, if it is. Returns the endpoint."""
        failing = webhook_endpoints.c.failing_since.is_not(None)
        database.write_now(
            lambda connection: connection.execute(
                update(webhook_endpoints).where(failing).values(failing_since=now_plus(-failing_s))
            )
        )
        await endpoints.send_test(runtime, ADMIN, created.endpoint.id)
        await deliver_all(runtime)
        return read_rows(database, webhook_endpoints)[0]

    assert (await attempt_after(0)).failing_since is not None
    # A success ends the time, however long it was;
    assert (await attempt_after(2 * MAX_FAILING_SECONDS)).failing_since is None
    assert (await attempt_after(0)).disabled_at is None
    # so do not five days less a minute,
    assert (await attempt_after(MAX_FAILING_SECONDS - 60)).disabled_at is None
    # but five days do.
    assert (await attempt_after(MAX_FAILING_SECONDS)).disabled_reason is EndpointDisabledReason.FAILING
    disabled = [details for action, details in read_actions(database) if action.value.endswith("DISABLED")]
    assert disabled == [{"reason": "FAILING", "lastError": "The receiver answered with status 500."}]


async def test_late_result_of_an_expired_lease_is_dropped(runtime: Runtime, database: Database) -> None:
    created = await given_endpoint(runtime, "https://one.example/")
    delivery = await endpoints.send_test(runtime, ADMIN, created.endpoint.id)
    expired = database.write_now(endpoint_outbox.claim_delivery, delivery.id, 0)
    assert expired is not None
    assert database.write_now(endpoint_outbox.claim_delivery, delivery.id, 60) is not None

    late = webhook_outbox.DeliveryAttempt(expired.at, 204, None, 5)

    assert database.write_now(webhook_outbox.record_attempt, expired, late, None) is False
    assert read_rows(database, endpoint_deliveries)[0].status is WebhookStatus.PENDING


async def test_endpoints_of_other_tenants_are_not_found(runtime: Runtime, database: Database) -> None:
    created = await given_endpoint(runtime, "https://one.example/")
    other = system_caller(given_tenant(database, "other"), "admin")

    for call in (endpoints.disable, endpoints.enable, endpoints.send_test):
        with pytest.raises(WebhookEndpointNotFound):
            await call(runtime, other, created.endpoint.id)
    with pytest.raises(WebhookEndpointNotFound):
        await endpoints.rotate_secret(runtime, other, created.endpoint.id, DAY)

    assert len(read_rows(database, webhook_secrets)) == 1
    assert read_rows(database, endpoint_deliveries) == []
    assert read_actions(database, other.tenant_id) == []


# --- The log.


async def test_log_keeps_deliveries_for_thirty_days(runtime: Runtime, database: Database) -> None:
    created = await given_endpoint(runtime, "https://one.example/")
    await endpoints.send_test(runtime, ADMIN, created.endpoint.id)
    old, planned = (new_id_at(-DELIVERY_LOG_SECONDS - 60) for _ in range(2))
    for id in (old, planned):
        database.write_now(endpoint_outbox.insert_delivery, id, created.endpoint.id, event_of_log(database), None)
    is_old = endpoint_deliveries.c.id == old
    database.write_now(
        lambda connection: connection.execute(update(endpoint_deliveries).where(is_old).values(due_at=None))
    )

    assert await delete_old_deliveries(runtime) == 1

    rows = read_rows(database, endpoint_deliveries)
    assert len(rows) == 2
    assert rows[0].id == planned


def new_id_at(seconds_from_now: float) -> UUID:
    return UUID(int=new_id().int + (round(seconds_from_now * 1000) << 80))


def event_of_log(database: Database) -> Any:
    (row,) = read_rows(database, endpoint_deliveries)[-1:]
    return endpoint_outbox.WebhookEvent(row.event_type, row.occurred_at, row.data)


async def test_deliveries_are_deleted_with_their_request(runtime: Runtime, database: Database) -> None:
    await given_endpoint(runtime, "https://one.example/")
    request_id = given_request(database, 1)
    finish_images(database, request_id, DONE)
    assert finish(database, request_id, RequestStatus.COMPLETED) is not None
    assert len(read_rows(database, endpoint_deliveries)) == 1

    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id) is not None
    delete_all(database, request_id)

    assert read_rows(database, endpoint_deliveries) == []


async def test_page_of_deliveries_has_their_state(runtime: Runtime, database: Database) -> None:
    created = await given_endpoint(runtime, "https://one.example/")
    for _ in range(3):
        await endpoints.send_test(runtime, ADMIN, created.endpoint.id)

    window = PageWindow(2, None, None, backward=False)
    page = database.read_now(repository.deliveries_page, DEFAULT_TENANT, window, created.endpoint.id)

    assert [entry.event_type for _, entry in page.rows] == [WebhookEventType.WEBHOOK_TEST] * 2
    assert page.has_more
    assert database.read_now(repository.count_deliveries, DEFAULT_TENANT, created.endpoint.id) == 3
    assert database.read_now(repository.count_deliveries, new_id(), created.endpoint.id) == 0
