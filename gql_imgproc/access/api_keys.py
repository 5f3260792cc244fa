"""Creates, rotates and revokes API keys; each change and its audit event are one transaction.

The text of a new key is generated before the transaction. The database may run a transaction again after a commit whose
answer was lost; the second run then finds the key of the first one and returns it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from gql_imgproc.access import audit_log, key_repository
from gql_imgproc.access.key_repository import ApiKey
from gql_imgproc.database.engine import Database
from gql_imgproc.enums import AuditAction
from gql_imgproc.errors import ApiKeyInvalid, ApiKeyNotFound, ApiKeyNotRotatable, LastAdminKey
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.security.api_key import check_expiry, check_name, check_overlap, generate_api_key, parse_api_key
from gql_imgproc.security.scopes import Caller, Scope


@dataclass(frozen=True, slots=True)
class IssuedApiKey:
    """A new key and its text, which is not stored and cannot be read again."""

    key: ApiKey
    text: str


async def create(
    db: Database, caller: Caller, name: str, scopes: Collection[Scope], expires_at: datetime | None
) -> IssuedApiKey:
    """Creates a key of the caller's tenant. Raises ApiKeyInvalid."""
    _check("name", check_name(name))
    _check("scopes", None if scopes else "A key needs at least one scope.")
    _check("expiresAt", check_expiry(expires_at, datetime.now(UTC)) if expires_at else None)
    return await db.write(_create, caller, generate_api_key(), name, scopes, expires_at)


async def rotate(db: Database, caller: Caller, key_id: UUID, overlap: timedelta) -> IssuedApiKey:
    """Creates a key that replaces another one, which expires after the overlap. The new key has the same lifetime.

    Raises ApiKeyInvalid, ApiKeyNotFound or ApiKeyNotRotatable.
    """
    _check("overlapSeconds", check_overlap(overlap))
    return await db.write(_rotate, caller, generate_api_key(), key_id, overlap)


async def revoke(db: Database, caller: Caller, key_id: UUID) -> ApiKey:
    """Revokes a key; a key that is already revoked stays as it is.

    Raises ApiKeyNotFound. Raises LastAdminKey too, except at the command line, where another key can be created.
    """
    return await db.write(_revoke, caller, key_id)


async def get_by_public_id(db: Database, public_id: str) -> ApiKey:
    """The key of any tenant with this public ID. Raises ApiKeyNotFound."""
    found = await db.read(key_repository.find_by_public_id, public_id)
    if found is None:
        # The error does not repeat the argument: it may be a whole key.
        raise ApiKeyNotFound
    return found.key


def _create(
    connection: Connection, caller: Caller, text: str, name: str, scopes: Collection[Scope], expires_at: datetime | None
) -> IssuedApiKey:
    if earlier := _find_issued(connection, text):
        return earlier
    issued = _insert(connection, caller, text, name, scopes, expires_at)
    key = issued.key
    audit_log.record_event(
        connection,
        caller,
        AuditAction.API_KEY_CREATED,
        global_id(key),
        publicId=key.public_id,
        name=key.name,
        scopes=" ".join(sorted(key.scopes)),
        expiresAt=key.expires_at.isoformat(timespec="seconds") if key.expires_at else None,
    )
    return issued


def _rotate(connection: Connection, caller: Caller, text: str, key_id: UUID, overlap: timedelta) -> IssuedApiKey:
    if earlier := _find_issued(connection, text):
        return earlier
    old = _get(connection, caller, key_id)
    expires_at = datetime.now(UTC) + (old.expires_at - old.created_at) if old.expires_at else None
    issued = _insert(connection, caller, text, old.name, old.scopes, expires_at)
    if not key_repository.supersede(connection, caller.tenant_id, key_id, issued.key.id, overlap.total_seconds()):
        raise ApiKeyNotRotatable(_get(connection, caller, key_id).state.value)
    audit_log.record_event(
        connection,
        caller,
        AuditAction.API_KEY_ROTATED,
        global_id(old),
        publicId=old.public_id,
        successor=global_id(issued.key),
        overlapSeconds=round(overlap.total_seconds()),
    )
    return issued


def _revoke(connection: Connection, caller: Caller, key_id: UUID) -> ApiKey:
    if caller.key_id is not None and key_repository.lock_active_admin_keys(connection, caller.tenant_id) == {key_id}:
        raise LastAdminKey
    revoked = key_repository.revoke(connection, caller.tenant_id, key_id)
    key = _get(connection, caller, key_id)
    if revoked:
        audit_log.record_event(connection, caller, AuditAction.API_KEY_REVOKED, global_id(key), publicId=key.public_id)
    return key


def _find_issued(connection: Connection, text: str) -> IssuedApiKey | None:
    """The key that an earlier run of the same transaction created."""
    parsed = parse_api_key(text)
    found = key_repository.find_by_public_id(connection, parsed.public_id) if parsed else None
    return IssuedApiKey(found.key, text) if found else None


def _insert(
    connection: Connection, caller: Caller, text: str, name: str, scopes: Collection[Scope], expires_at: datetime | None
) -> IssuedApiKey:
    parsed = parse_api_key(text)
    assert parsed is not None
    key = key_repository.insert_key(connection, caller.tenant_id, parsed, name, set(scopes), expires_at)
    return IssuedApiKey(key, text)


def _get(connection: Connection, caller: Caller, key_id: UUID) -> ApiKey:
    key = key_repository.get_key(connection, caller.tenant_id, key_id)
    if key is None:
        raise ApiKeyNotFound
    return key


def global_id(key: ApiKey) -> str:
    return encode_global_id(IdPrefix.API_KEY, key.id)


def _check(field: str, problem: str | None) -> None:
    if problem:
        raise ApiKeyInvalid(field, problem)
