"""Exports the audit log, and deletes old events that were exported. Triggers in the database keep all others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TextIO
from uuid import UUID

from sqlalchemy import Connection, Row, and_, delete, or_, select, true, update

from gql_imgproc.access.audit_log import AuditEvent
from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import audit_events, audit_export, tenants
from gql_imgproc.database.types import now_plus
from gql_imgproc.ids import IdPrefix, encode_global_id

#: Minimum age of exported events, in seconds. The transaction of a younger one may not have been committed yet; the
#: database ends a statement after a minute.
SETTLE_SECONDS = 300
#: Events that are read with one statement.
PAGE_SIZE = 1_000


async def write_new_events(db: Database, out: TextIO) -> tuple[int, datetime]:
    """Writes the events since the last export, oldest first, as a JSON object per line.

    Returns their number, and the time for `mark_exported`. They are written again until that is called.
    """
    since, until = await db.read(_read_bounds)
    count, after = 0, None
    while page := await db.read(_list_events, since, until, after):
        out.writelines(_format_event(row) for row in page)
        count, after = count + len(page), page[-1].id
    return count, until


async def mark_exported(db: Database, until: datetime) -> None:
    """Lets all events up to `until` be deleted when they are old enough. Call it when they are stored safely."""
    await db.write(_mark_exported, until)


def delete_exported(connection: Connection, age_s: float, limit: int) -> int:
    """Deletes the oldest events, at most `limit`, that have reached an age and were exported. Returns their number."""
    # IDs sort by time. There is no index of the times.
    oldest = select(audit_events.c.id, audit_events.c.occurred_at).order_by(audit_events.c.id).limit(limit).subquery()
    exported_until = select(audit_export.c.exported_until).scalar_subquery()
    due = and_(oldest.c.occurred_at <= now_plus(-age_s), oldest.c.occurred_at <= exported_until)
    statement = delete(audit_events).where(audit_events.c.id.in_(select(oldest.c.id).where(due)))
    return connection.execute(statement).rowcount


def _read_bounds(connection: Connection) -> tuple[datetime | None, datetime]:
    row = connection.execute(select(audit_export.c.exported_until, now_plus(-SETTLE_SECONDS).label("until"))).one()
    return row.exported_until, row.until


def _list_events(
    connection: Connection, since: datetime | None, until: datetime, after: UUID | None
) -> Sequence[Row[*tuple[Any, ...]]]:
    columns = (audit_events.c[name] for name in AuditEvent.__slots__)
    statement = (
        select(*columns, tenants.c.name.label("tenant"))
        .outerjoin(tenants, tenants.c.id == audit_events.c.tenant_id)
        .where(
            audit_events.c.occurred_at <= until,
            true() if since is None else audit_events.c.occurred_at > since,
            true() if after is None else audit_events.c.id > after,
        )
    )
    return connection.execute(statement.order_by(audit_events.c.id).limit(PAGE_SIZE)).all()


def _mark_exported(connection: Connection, until: datetime) -> None:
    # Another export may have come further.
    is_earlier = or_(audit_export.c.exported_until.is_(None), audit_export.c.exported_until < until)
    connection.execute(update(audit_export).where(is_earlier).values(exported_until=until))


def _format_event(row: Row[*tuple[Any, ...]]) -> str:
    """The event as the GraphQL type `AuditEvent` has it, with the name of its tenant."""
    event = {
        "id": encode_global_id(IdPrefix.AUDIT_EVENT, row.id),
        "tenant": row.tenant,
        "at": row.occurred_at.isoformat(),
        "action": row.action,
        "actor": row.actor,
        "keyId": encode_global_id(IdPrefix.API_KEY, row.key_id) if row.key_id else None,
        "subjectId": row.subject_id or None,
        "ipAddress": row.ip_address or None,
        "details": row.details,
    }
    return json.dumps(event, ensure_ascii=False) + "\n"
