"""Statements on the audit log: an event is noted and read; the database refuses to change or remove one."""

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
class Event:
    """Who did what to which thing, from where. `subject_id` has its outside form; `details` are for people."""

    id: UUID
    occurred_at: datetime
    actor: str
    key_id: UUID | None
    action: AuditAction
    subject_id: str | None
    ip_address: str
    details: dict[str, str]


_COLUMNS = tuple(audit_events.c[name] for name in Event.__slots__)


def record_event(
    connection: Connection, caller: Caller, action: AuditAction, subject_id: str | None = None, **details: object
) -> None:
    """Writes down what a caller does; to be called in the transaction that does it. No detail may be a secret."""
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


def get_event(connection: Connection, tenant_id: UUID, event_id: UUID) -> Event | None:
    own = audit_events.c.id == event_id, audit_events.c.tenant_id == tenant_id
    row = connection.execute(select(*_COLUMNS).where(*own)).one_or_none()
    return None if row is None else _event(row)


def events_page(
    connection: Connection,
    tenant_id: UUID,
    window: PageWindow,
    *,
    action: AuditAction | None = None,
    subject_id: str | None = None,
) -> Page[Event]:
    """Events of the tenant, the newest first; keys are (identifier,)."""
    wanted = _filters(tenant_id, action, subject_id)
    statement = select(*_COLUMNS).where(*wanted)
    return page_by_id(connection, statement, audit_events.c.id, window, _event, descending=True)


def count_events(
    connection: Connection, tenant_id: UUID, *, action: AuditAction | None = None, subject_id: str | None = None
) -> int:
    wanted = _filters(tenant_id, action, subject_id)
    return connection.execute(select(func.count()).select_from(audit_events).where(*wanted)).scalar_one()


def _filters(tenant_id: UUID, action: AuditAction | None, subject_id: str | None) -> list[ColumnElement[bool]]:
    terms = [audit_events.c.tenant_id == tenant_id]
    if action is not None:
        terms.append(audit_events.c.action == action)
    if subject_id is not None:
        terms.append(audit_events.c.subject_id == subject_id)
    return terms


def _event(row: Row[Any]) -> Event:
    return Event(**row._mapping)
