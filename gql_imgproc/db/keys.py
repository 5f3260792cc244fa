"""Statements on API keys: made, found, listed, revoked; and on the tenants that they speak for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, insert, or_, select, update

from gql_imgproc.core.api_keys import PresentedKey
from gql_imgproc.core.rights import Scope
from gql_imgproc.db.columns import now, seconds_since
from gql_imgproc.db.models import api_keys, tenants
from gql_imgproc.identifiers import new_id

#: `last_used_at` is written at most so often, in seconds: to read must not cost a write each time.
USE_NOTED_SECONDS = 60


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its tenant sees it; `name`, `scopes` and `expires_at` as they were given."""

    id: UUID
    tenant_id: UUID
    public_id: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key that was looked for by its public identifier, and whether it is good; who asks has yet to prove it."""

    key: ApiKey
    digest: str
    expired: bool
    use_is_noted: bool


_COLUMNS = tuple(api_keys.c[name] for name in ApiKey.__slots__)
_expired = and_(api_keys.c.expires_at.is_not(None), api_keys.c.expires_at <= now())
_usable = and_(api_keys.c.revoked_at.is_(None), or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now()))


def insert_key(
    connection: Connection,
    tenant_id: UUID,
    key: PresentedKey,
    name: str,
    scopes: Collection[Scope],
    expires_at: datetime | None,
) -> ApiKey:
    row = connection.execute(
        insert(api_keys)
        .values(
            id=new_id(),
            tenant_id=tenant_id,
            public_id=key.public_id,
            digest=key.digest,
            name=name,
            scopes=sorted(scopes),
            created_at=now(),
            expires_at=expires_at,
        )
        .returning(*_COLUMNS)
    ).one()
    return _key(row)


def find(connection: Connection, public_id: str) -> FoundKey | None:
    noted = and_(
        api_keys.c.last_used_at.is_not(None), seconds_since(api_keys.c.last_used_at) < USE_NOTED_SECONDS
    ).label("noted")
    statement = select(*_COLUMNS, api_keys.c.digest, _expired.label("expired"), noted)
    row = connection.execute(statement.where(api_keys.c.public_id == public_id)).one_or_none()
    return None if row is None else FoundKey(_key(row), row.digest, bool(row.expired), bool(row.noted))


def note_use(connection: Connection, key_id: UUID) -> None:
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=now()))


def usable(connection: Connection, key_ids: Collection[UUID]) -> set[UUID]:
    """Those of the keys that are neither revoked nor expired."""
    return set(connection.scalars(select(api_keys.c.id).where(api_keys.c.id.in_(key_ids), _usable)))


def any_key(connection: Connection) -> bool:
    """Whether there ever was a key. From then on callers are asked for one."""
    return connection.execute(select(api_keys.c.id).limit(1)).first() is not None


def any_usable_key(connection: Connection) -> bool:
    return connection.execute(select(api_keys.c.id).where(_usable).limit(1)).first() is not None


def revoke(connection: Connection, tenant_id: UUID, key_id: UUID) -> ApiKey | None:
    """Makes a key worthless; None when the tenant has no such key. One that is revoked stays as it is."""
    own: ColumnElement[bool] = and_(api_keys.c.id == key_id, api_keys.c.tenant_id == tenant_id)
    connection.execute(update(api_keys).where(own, api_keys.c.revoked_at.is_(None)).values(revoked_at=now()))
    row = connection.execute(select(*_COLUMNS).where(own)).one_or_none()
    return None if row is None else _key(row)


def tenant_by_name(connection: Connection, name: str) -> UUID | None:
    return connection.execute(select(tenants.c.id).where(tenants.c.name == name)).scalar_one_or_none()


def insert_tenant(connection: Connection, name: str) -> UUID:
    tenant_id = new_id()
    connection.execute(insert(tenants).values(id=tenant_id, name=name, created_at=now()))
    return tenant_id


def tenant_name(connection: Connection, tenant_id: UUID) -> str:
    name: str = connection.execute(select(tenants.c.name).where(tenants.c.id == tenant_id)).scalar_one()
    return name


def _key(row: object) -> ApiKey:
    values = {name: getattr(row, name) for name in ApiKey.__slots__}
    return ApiKey(**values | {"scopes": frozenset(Scope(name) for name in values["scopes"])})
