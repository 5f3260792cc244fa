"""SQL for API keys."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, case, func, insert, or_, select, update

from gql_imgproc.database.pagination import Page, PageWindow, page_by_id
from gql_imgproc.database.tables import api_keys, tenants
from gql_imgproc.database.types import now, now_plus, seconds_since
from gql_imgproc.ids import new_id
from gql_imgproc.security.api_key import NO_DIGEST, ApiKeyState, ParsedApiKey
from gql_imgproc.security.scopes import Scope

#: Minimum time between two updates of `last_used_at`: not every read should cost a write.
USE_RECORD_INTERVAL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its tenant sees it."""

    id: UUID
    tenant_id: UUID
    public_id: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    #: At the time of reading, by the database's clock.
    state: ApiKeyState


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key found by its public ID, and whether its use was recorded recently."""

    key: ApiKey
    is_use_recorded: bool


_state = case(
    (api_keys.c.revoked_at.is_not(None), ApiKeyState.REVOKED),
    (and_(api_keys.c.expires_at.is_not(None), api_keys.c.expires_at <= now()), ApiKeyState.EXPIRED),
    (api_keys.c.successor_id.is_not(None), ApiKeyState.ROTATED),
    else_=ApiKeyState.USABLE,
).label("state")
_COLUMNS = *(api_keys.c[name] for name in ApiKey.__slots__ if name != "state"), _state
_usable = and_(api_keys.c.revoked_at.is_(None), or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now()))


def insert_key(
    connection: Connection,
    tenant_id: UUID,
    key: ParsedApiKey,
    name: str,
    scopes: Collection[Scope],
    expires_at: datetime | None,
) -> ApiKey:
    key_id = new_id()
    connection.execute(
        insert(api_keys).values(
            id=key_id,
            tenant_id=tenant_id,
            public_id=key.public_id,
            digest=key.digest,
            name=name,
            scopes=sorted(scopes),
            created_at=now(),
            expires_at=expires_at,
        )
    )
    # Not with RETURNING: SQLite 3.40 evaluates IS NOT NULL wrongly there, and `_state` uses it.
    return _to_key(connection.execute(select(*_COLUMNS).where(*_of_tenant(tenant_id, key_id))).one())


def find_by_secret(connection: Connection, key: ParsedApiKey) -> FoundKey | None:
    """The key with this secret, whatever its state; None when it is unknown.

    A wrong secret and an unknown key take the same time: both read one digest, and compare it with a dummy if there is
    none.
    """
    digest = select(api_keys.c.digest).where(api_keys.c.public_id == key.public_id)
    matches = key.matches(connection.execute(digest).scalar_one_or_none() or NO_DIGEST)
    return find_by_public_id(connection, key.public_id) if matches else None


def find_by_public_id(connection: Connection, public_id: str) -> FoundKey | None:
    is_use_recorded = and_(
        api_keys.c.last_used_at.is_not(None), seconds_since(api_keys.c.last_used_at) < USE_RECORD_INTERVAL_SECONDS
    ).label("is_use_recorded")
    statement = select(*_COLUMNS, is_use_recorded)
    row = connection.execute(statement.where(api_keys.c.public_id == public_id)).one_or_none()
    return None if row is None else FoundKey(_to_key(row), bool(row.is_use_recorded))


def record_use(connection: Connection, key_id: UUID) -> None:
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=now()))


def filter_usable(connection: Connection, key_ids: Collection[UUID]) -> set[UUID]:
    """The keys that are neither revoked nor expired."""
    return set(connection.scalars(select(api_keys.c.id).where(api_keys.c.id.in_(key_ids), _usable)))


def has_keys(connection: Connection) -> bool:
    """Whether a key was ever created. From then on callers need one."""
    return connection.execute(select(api_keys.c.id).limit(1)).first() is not None


def has_usable_key(connection: Connection) -> bool:
    return connection.execute(select(api_keys.c.id).where(_usable).limit(1)).first() is not None


def get_key(connection: Connection, tenant_id: UUID, key_id: UUID) -> ApiKey | None:
    row = connection.execute(select(*_COLUMNS).where(*_of_tenant(tenant_id, key_id))).one_or_none()
    return None if row is None else _to_key(row)


def keys_page(connection: Connection, tenant_id: UUID, window: PageWindow) -> Page[ApiKey]:
    """Keys of the tenant, newest first; cursor keys are (ID,)."""
    statement = select(*_COLUMNS).where(api_keys.c.tenant_id == tenant_id)
    return page_by_id(connection, statement, api_keys.c.id, window, _to_key)


def count_keys(connection: Connection, tenant_id: UUID) -> int:
    statement = select(func.count()).select_from(api_keys).where(api_keys.c.tenant_id == tenant_id)
    return connection.execute(statement).scalar_one()


def list_keys(connection: Connection, tenant_id: UUID | None) -> list[tuple[str, ApiKey]]:
    """Keys of one tenant, or of all, each with the tenant's name; for operators."""
    statement = select(*_COLUMNS, tenants.c.name.label("tenant")).join(tenants, tenants.c.id == api_keys.c.tenant_id)
    if tenant_id is not None:
        statement = statement.where(api_keys.c.tenant_id == tenant_id)
    rows = connection.execute(statement.order_by(tenants.c.name, api_keys.c.id)).all()
    return [(row.tenant, _to_key(row)) for row in rows]


def supersede(connection: Connection, tenant_id: UUID, key_id: UUID, successor_id: UUID, overlap_s: float) -> bool:
    """Sets the successor of a key, which expires after the overlap at the latest.

    False when the key is not usable, or already has a successor.
    """
    end = now_plus(overlap_s)
    earlier = case((api_keys.c.expires_at < end, api_keys.c.expires_at), else_=end)
    changed = connection.execute(
        update(api_keys)
        .where(*_of_tenant(tenant_id, key_id), _usable, api_keys.c.successor_id.is_(None))
        .values(successor_id=successor_id, expires_at=earlier)
    )
    return changed.rowcount == 1


def revoke(connection: Connection, tenant_id: UUID, key_id: UUID) -> bool:
    """False when the key was already revoked, or the tenant has no such key."""
    is_active = api_keys.c.revoked_at.is_(None)
    changed = connection.execute(
        update(api_keys).where(*_of_tenant(tenant_id, key_id), is_active).values(revoked_at=now())
    )
    return changed.rowcount == 1


def lock_active_admin_keys(connection: Connection, tenant_id: UUID) -> set[UUID]:
    """Usable keys of the tenant with the scope ADMIN and no successor.

    Locks the tenant, so that two callers cannot revoke each other's key at once.
    """
    connection.execute(select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update())
    active = api_keys.c.tenant_id == tenant_id, _usable, api_keys.c.successor_id.is_(None)
    rows = connection.execute(select(api_keys.c.id, api_keys.c.scopes).where(*active))
    return {row.id for row in rows if Scope.ADMIN in row.scopes}


def _of_tenant(tenant_id: UUID, key_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return api_keys.c.id == key_id, api_keys.c.tenant_id == tenant_id


def _to_key(row: object) -> ApiKey:
    values = {name: getattr(row, name) for name in ApiKey.__slots__}
    scopes = frozenset(Scope(name) for name in values["scopes"])
    return ApiKey(**values | {"scopes": scopes, "state": ApiKeyState(values["state"])})
