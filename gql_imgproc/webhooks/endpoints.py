"""Creates, enables, disables and tests webhook endpoints, and rotates secrets.

Each change and its audit event are one transaction. IDs and secrets are generated before it: the database may run a
transaction again after a commit whose answer was lost, and the second run finds the rows of the first one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy import Connection

from gql_imgproc.access import audit_log
from gql_imgproc.enums import AuditAction, WebhookEventType
from gql_imgproc.errors import WebhookEndpointDisabled, WebhookEndpointInvalid, WebhookEndpointNotFound
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.net.address_policy import check_url
from gql_imgproc.requests.notify import best_effort
from gql_imgproc.requests.repository import endpoint_outbox
from gql_imgproc.requests.webhook_event import WebhookEvent
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.api_key import check_overlap
from gql_imgproc.security.scopes import Caller
from gql_imgproc.security.webhook_signature import generate_webhook_secret
from gql_imgproc.security.webhook_url import redact_webhook_url
from gql_imgproc.webhooks import repository
from gql_imgproc.webhooks.repository import EndpointDelivery, WebhookEndpoint
from gql_imgproc.webhooks.secrets import encrypt

#: Enabled endpoints of one tenant: each event is delivered to all that want it.
MAX_ENABLED = 20


_Endpoint = TypeVar("_Endpoint", bound=WebhookEndpoint | None)


@dataclass(frozen=True, slots=True)
class IssuedSecret(Generic[_Endpoint]):
    """A new secret, which cannot be read again, and the endpoint it is for; None if it is the tenant's own."""

    endpoint: _Endpoint
    text: str


@dataclass(frozen=True, slots=True)
class _NewSecret:
    id: UUID
    text: str
    ciphertext: str


def _generate_secret(runtime: Runtime) -> _NewSecret:
    """Raises SecretsKeyMissing."""
    text = generate_webhook_secret()
    return _NewSecret(new_id(), text, encrypt(runtime, text))


async def create(
    runtime: Runtime, caller: Caller, url: str, event_types: Collection[WebhookEventType]
) -> IssuedSecret[WebhookEndpoint]:
    """Creates an endpoint of the caller's tenant. Raises WebhookEndpointInvalid or SecretsKeyMissing."""
    if (problem := check_url(url, runtime.policy)) is not None:
        raise WebhookEndpointInvalid("url", problem.message)
    if not event_types or WebhookEventType.WEBHOOK_TEST in event_types:
        raise WebhookEndpointInvalid("eventTypes", "Choose at least one type of event about requests.")
    return await runtime.db.write(_create, caller, new_id(), url, set(event_types), _generate_secret(runtime))


async def rotate_secret(
    runtime: Runtime, caller: Caller, endpoint_id: UUID | None, overlap: timedelta
) -> IssuedSecret[WebhookEndpoint | None]:
    """Creates a secret of an endpoint, or the tenant's own one for uploads. The previous one signs for the overlap.

    Raises WebhookEndpointInvalid, WebhookEndpointNotFound or SecretsKeyMissing.
    """
    if check_overlap(overlap):
        raise WebhookEndpointInvalid("overlapSeconds", "The previous secret can stay valid for 0 to 30 days.")
    return await runtime.db.write(_rotate_secret, caller, endpoint_id, overlap, _generate_secret(runtime))


async def disable(runtime: Runtime, caller: Caller, endpoint_id: UUID) -> WebhookEndpoint:
    """Ends the deliveries to an endpoint, if it is enabled. Raises WebhookEndpointNotFound."""
    action = AuditAction.WEBHOOK_ENDPOINT_DISABLED
    return await runtime.db.write(_change, caller, endpoint_id, repository.disable, action)


async def enable(runtime: Runtime, caller: Caller, endpoint_id: UUID) -> WebhookEndpoint:
    """Enables an endpoint. Raises WebhookEndpointNotFound or WebhookEndpointInvalid."""
    return await runtime.db.write(
        _change, caller, endpoint_id, _enable_within_limit, AuditAction.WEBHOOK_ENDPOINT_ENABLED
    )


async def send_test(runtime: Runtime, caller: Caller, endpoint_id: UUID) -> EndpointDelivery:
    """Sends a test event to an endpoint. Raises WebhookEndpointNotFound or WebhookEndpointDisabled."""
    delivery = await runtime.db.write(_insert_test, caller, endpoint_id, new_id())
    await best_effort(runtime, lambda: runtime.queue.deliver(delivery.id))
    return delivery


def _create(
    connection: Connection,
    caller: Caller,
    endpoint_id: UUID,
    url: str,
    event_types: Collection[WebhookEventType],
    secret: _NewSecret,
) -> IssuedSecret[WebhookEndpoint]:
    if earlier := repository.get_endpoint(connection, caller.tenant_id, endpoint_id):
        return IssuedSecret(earlier, secret.text)
    repository.lock_tenant(connection, caller.tenant_id)
    _check_limit(connection, caller.tenant_id, "url")
    repository.insert_endpoint(connection, endpoint_id, caller.tenant_id, url, event_types)
    repository.insert_secret(connection, secret.id, endpoint_id, secret.ciphertext)
    audit_log.record_event(
        connection,
        caller,
        AuditAction.WEBHOOK_ENDPOINT_CREATED,
        global_id(endpoint_id),
        url=redact_webhook_url(url),
        eventTypes=" ".join(sorted(event_types)),
    )
    return IssuedSecret(_get(connection, caller, endpoint_id), secret.text)


def _rotate_secret(
    connection: Connection, caller: Caller, endpoint_id: UUID | None, overlap: timedelta, secret: _NewSecret
) -> IssuedSecret[WebhookEndpoint | None]:
    repository.lock_tenant(connection, caller.tenant_id)
    endpoint = _get(connection, caller, endpoint_id) if endpoint_id else None
    issued = IssuedSecret(endpoint, secret.text)
    if repository.has_secret(connection, secret.id):
        return issued
    owner_id, overlap_s = endpoint_id or caller.tenant_id, overlap.total_seconds()
    has_previous = repository.expire_secrets(connection, owner_id, overlap_s)
    repository.insert_secret(
        connection, secret.id, owner_id, secret.ciphertext, service_secret_s=None if has_previous else overlap_s
    )
    audit_log.record_event(
        connection,
        caller,
        AuditAction.WEBHOOK_SECRET_ROTATED,
        global_id(endpoint_id) if endpoint_id else None,
        overlapSeconds=round(overlap_s),
    )
    return issued


def _change(
    connection: Connection,
    caller: Caller,
    endpoint_id: UUID,
    change: Callable[[Connection, UUID, UUID], bool],
    action: AuditAction,
) -> WebhookEndpoint:
    if change(connection, caller.tenant_id, endpoint_id):
        audit_log.record_event(connection, caller, action, global_id(endpoint_id))
    return _get(connection, caller, endpoint_id)


def _enable_within_limit(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> bool:
    repository.lock_tenant(connection, tenant_id)
    is_changed = repository.enable(connection, tenant_id, endpoint_id)
    _check_limit(connection, tenant_id, "id", new=0)
    return is_changed


def _check_limit(connection: Connection, tenant_id: UUID, field: str, new: int = 1) -> None:
    if repository.count_enabled(connection, tenant_id) + new > MAX_ENABLED:
        raise WebhookEndpointInvalid(field, f"A tenant can have {MAX_ENABLED} enabled endpoints. Disable one first.")


def _insert_test(connection: Connection, caller: Caller, endpoint_id: UUID, delivery_id: UUID) -> EndpointDelivery:
    if earlier := repository.get_delivery(connection, caller.tenant_id, delivery_id):
        return earlier
    if _get(connection, caller, endpoint_id).disabled_at:
        raise WebhookEndpointDisabled
    data = {"endpointId": global_id(endpoint_id)}
    event = WebhookEvent(WebhookEventType.WEBHOOK_TEST, datetime.now(UTC), data)
    endpoint_outbox.insert_delivery(connection, delivery_id, endpoint_id, event, None)
    delivery = repository.get_delivery(connection, caller.tenant_id, delivery_id)
    assert delivery is not None
    return delivery


def _get(connection: Connection, caller: Caller, endpoint_id: UUID) -> WebhookEndpoint:
    endpoint = repository.get_endpoint(connection, caller.tenant_id, endpoint_id)
    if endpoint is None:
        raise WebhookEndpointNotFound
    return endpoint


def global_id(endpoint_id: UUID) -> str:
    return encode_global_id(IdPrefix.WEBHOOK_ENDPOINT, endpoint_id)
