"""Handing out API keys, and taking them back: each in one transaction with its entry in the audit log.

The text of a new key is made before (`new_key`): when the transaction is tried again since the answer to its commit was
lost, the key that is there is the one to hand out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from gql_imgproc.access import audit_log, key_repository
from gql_imgproc.access.key_repository import ApiKey
from gql_imgproc.enums import AuditAction
from gql_imgproc.errors import ApiKeyNotRotatable, KeyInvalid, KeyNotFound, LastAdminKey
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.security.api_key import check_expiry, check_name, check_overlap, parse_api_key
from gql_imgproc.security.scopes import Caller, Scope


@dataclass(frozen=True, slots=True)
class IssuedApiKey:
    """A new key and its text, which nobody can read again."""

    key: ApiKey
    text: str


def create(
    connection: Connection, caller: Caller, text: str, name: str, scopes: Collection[Scope], expires_at: datetime | None
) -> IssuedApiKey:
    """Makes a key of the caller's tenant. Raises KeyInvalid."""
    if found := _handed_out(connection, text):
        return found
    _check("name", check_name(name))
    _check("scopes", None if scopes else "A key needs at least one scope.")
    _check("expiresAt", check_expiry(expires_at, datetime.now(UTC)) if expires_at else None)
    made = _insert(connection, caller, text, name, scopes, expires_at)
    audit_log.record_event(
        connection, caller, AuditAction.API_KEY_CREATED, global_id(made.key), **_audit_details(made.key)
    )
    return made


def rotate(connection: Connection, caller: Caller, text: str, key_id: UUID, overlap: timedelta) -> IssuedApiKey:
    """Makes a key that takes the place of another, which ends after the overlap; it may last as long as that one might.

    Raises KeyInvalid, KeyNotFound or KeyOver.
    """
    if found := _handed_out(connection, text):
        return found
    _check("overlapSeconds", check_overlap(overlap))
    old = _get(connection, caller, key_id)
    expires_at = datetime.now(UTC) + (old.expires_at - old.created_at) if old.expires_at else None
    made = _insert(connection, caller, text, old.name, old.scopes, expires_at)
    if not key_repository.supersede(connection, caller.tenant_id, key_id, made.key.id, overlap.total_seconds()):
        raise ApiKeyNotRotatable(_get(connection, caller, key_id).state.value)
    audit_log.record_event(
        connection,
        caller,
        AuditAction.API_KEY_ROTATED,
        global_id(old),
        publicId=old.public_id,
        successor=global_id(made.key),
        overlapSeconds=round(overlap.total_seconds()),
    )
    return made


def revoke(connection: Connection, caller: Caller, key_id: UUID) -> ApiKey:
    """Makes a key worthless from now on; one that was revoked stays as it is.

    Raises KeyNotFound; or LastAdminKey, but for who has the database and can make another one.
    """
    if caller.key_id is not None and key_repository.count_active_admin_keys(connection, caller.tenant_id) == {key_id}:
        raise LastAdminKey
    revoked = key_repository.revoke(connection, caller.tenant_id, key_id)
    key = _get(connection, caller, key_id)
    if revoked:
        audit_log.record_event(connection, caller, AuditAction.API_KEY_REVOKED, global_id(key), publicId=key.public_id)
    return key


def global_id(key: ApiKey) -> str:
    """The outside form of its identifier."""
    return encode_global_id(IdPrefix.API_KEY, key.id)


def _handed_out(connection: Connection, text: str) -> IssuedApiKey | None:
    """What an earlier run of the same transaction made."""
    form = parse_api_key(text)
    found = key_repository.find_by_public_id(connection, form.public_id) if form else None
    return IssuedApiKey(found.key, text) if found else None


def _insert(
    connection: Connection, caller: Caller, text: str, name: str, scopes: Collection[Scope], expires_at: datetime | None
) -> IssuedApiKey:
    form = parse_api_key(text)
    assert form is not None
    return IssuedApiKey(
        key_repository.insert_key(connection, caller.tenant_id, form, name, set(scopes), expires_at), text
    )


def _get(connection: Connection, caller: Caller, key_id: UUID) -> ApiKey:
    key = key_repository.get_key(connection, caller.tenant_id, key_id)
    if key is None:
        raise KeyNotFound
    return key


def _audit_details(key: ApiKey) -> dict[str, str | None]:
    return {
        "publicId": key.public_id,
        "name": key.name,
        "scopes": " ".join(sorted(key.scopes)),
        "expiresAt": key.expires_at.isoformat(timespec="seconds") if key.expires_at else None,
    }


def _check(field: str, fault: str | None) -> None:
    if fault:
        raise KeyInvalid(field, fault)
