"""SQL for tenants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, insert, select

from gql_imgproc.database.tables import tenants
from gql_imgproc.database.types import now
from gql_imgproc.ids import new_id


@dataclass(frozen=True, slots=True)
class Tenant:
    """An owner of requests, API keys and quotas, isolated from all others."""

    id: UUID
    name: str
    created_at: datetime


def list_tenants(connection: Connection) -> list[Tenant]:
    columns = (tenants.c[name] for name in Tenant.__slots__)
    return [Tenant(*row) for row in connection.execute(select(*columns).order_by(tenants.c.name))]


def find_tenant(connection: Connection, name: str) -> UUID | None:
    return connection.execute(select(tenants.c.id).where(tenants.c.name == name)).scalar_one_or_none()


def insert_tenant(connection: Connection, name: str) -> UUID:
    tenant_id = new_id()
    connection.execute(insert(tenants).values(id=tenant_id, name=name, created_at=now()))
    return tenant_id


def get_tenant_name(connection: Connection, tenant_id: UUID) -> str:
    name: str = connection.execute(select(tenants.c.name).where(tenants.c.id == tenant_id)).scalar_one()
    return name
