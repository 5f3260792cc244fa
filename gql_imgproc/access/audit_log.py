"""The audit log: events are added and read. Triggers in the database refuse to change one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select

from gql_imgproc.database.pagination import Page, PageWindow, page_by_id
from gql_imgproc.database.tables import audit_events
from gql_imgproc.database.types import now
from gql_imgproc.enums import AuditAction
from gql_imgproc.ids import new_id
from gql_imgproc.security.scopes import Caller


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what to which object, and from where. `subject_id` is a global ID; `details` are for people."""

    id: UUID
    occurred_at: datetime
    actor: str
    key_id: UUID | None
    action: AuditAction
    subject_id: str | None
    ip_address: str
    details: dict[str, str]


_COLUMNS = tuple(audit_events.c[name] for name in AuditEvent.__slots__)


def record_event(
    connection: Connection, caller: Caller, action: AuditAction, subject_id: str | None = None, **details: object
) -> None:
    """Records an action; call it in the transaction of the action. No detail may be a secret."""
    connection.execute(
        insert(audit_events).values(
            id=new_id(),
            tenant_id=caller.tenant_id,
            occurred_at=now(),
            actor=caller.name,
            key_id=caller.key_id,
            action=action,
            subject_id=subject_id,
            ip_address=caller.ip_address,
            details={name: str(value) for name, value in details.items() if value is not None},
        )
    )


def get_event(connection: Connection, tenant_id: UUID, event_id: UUID) -> AuditEvent | None:
    own = audit_events.c.id == event_id, audit_events.c.tenant_id == tenant_id
    row = connection.execute(select(*_COLUMNS).where(*own)).one_or_none()
    return None if row is None else _to_event(row)


def events_page(
    connection: Connection,
    tenant_id: UUID,
    window: PageWindow,
    *,
    action: AuditAction | None = None,
    subject_id: str | None = None,
) -> Page[AuditEvent]:
    """Events of the tenant, newest first; cursor keys are (ID,)."""
    filters = _filters(tenant_id, action, subject_id)
    statement = select(*_COLUMNS).where(*filters)
    return page_by_id(connection, statement, audit_events.c.id, window, _to_event)


def count_events(
    connection: Connection, tenant_id: UUID, *, action: AuditAction | None = None, subject_id: str | None = None
) -> int:
    filters = _filters(tenant_id, action, subject_id)
    return connection.execute(select(func.count()).select_from(audit_events).where(*filters)).scalar_one()


def _filters(tenant_id: UUID, action: AuditAction | None, subject_id: str | None) -> list[ColumnElement[bool]]:
    terms = [audit_events.c.tenant_id == tenant_id]
    if action is not None:
        terms.append(audit_events.c.action == action)
    if subject_id is not None:
        terms.append(audit_events.c.subject_id == subject_id)
    return terms


def _to_event(row: Row[Any]) -> AuditEvent:
    return AuditEvent(**row._mapping)
