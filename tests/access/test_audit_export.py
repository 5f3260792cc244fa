"""Audit events are exported, and only then deleted."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import DBAPIError

from gql_imgproc.access import audit_export
from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import audit_events
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import AuditAction
from gql_imgproc.ids import DEFAULT_TENANT, new_id

DAY_S = 86_400


def given_event(database: Database, subject: str, age_s: float, **values: Any) -> None:
    event: dict[str, Any] = {
        "id": new_id(),
        "tenant_id": DEFAULT_TENANT,
        "occurred_at": now_plus(-age_s),
        "actor": "Zo\u00eb",
        "action": AuditAction.REQUEST_DELETED,
        "subject_id": subject,
        "ip_address": "",
        "details": {},
    }
    database.write_now(Connection.execute, insert(audit_events).values(event | values))


def subjects(database: Database) -> list[str]:
    statement = select(audit_events.c.subject_id).order_by(audit_events.c.id)
    return database.read_now(lambda connection: list(connection.scalars(statement)))


async def export(database: Database, *, is_stored: bool = True) -> list[dict[str, Any]]:
    out = io.StringIO()
    count, until = await audit_export.write_new_events(database, out)
    if is_stored:
        await audit_export.mark_exported(database, until)
    lines = out.getvalue().splitlines()
    assert len(lines) == count
    return [json.loads(line) for line in lines]


async def test_each_event_is_exported_once_when_it_is_five_minutes_old(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_export, "PAGE_SIZE", 2)
    for number in range(5):
        given_event(database, f"req_{number}", 400, details={"file": "a.csv"}, ip_address="192.0.2.1")
    # Its transaction may not have been the last one of that time.
    given_event(database, "req_young", 200)

    failed = await export(database, is_stored=False)
    first = await export(database)
    second = await export(database)
    monkeypatch.setattr(audit_export, "SETTLE_SECONDS", 0)
    third = await export(database)

    assert failed == first
    assert [event["subjectId"] for event in first] == [f"req_{number}" for number in range(5)]
    assert second == []
    assert [event["subjectId"] for event in third] == ["req_young"]
    event = first[0]
    assert event.pop("id").startswith("evt_")
    assert event.pop("at").endswith("+00:00")
    assert event == {
        "tenant": "default",
        "action": "REQUEST_DELETED",
        "actor": "Zo\u00eb",
        "keyId": None,
        "subjectId": "req_0",
        "ipAddress": "192.0.2.1",
        "details": {"file": "a.csv"},
    }


async def test_only_exported_events_of_that_age_are_deleted(database: Database) -> None:
    def delete_old() -> int:
        return database.write_now(audit_export.delete_exported, 30 * DAY_S, 500)

    given_event(database, "old", 31 * DAY_S)
    given_event(database, "younger", 29 * DAY_S)
    assert delete_old() == 0

    await export(database)
    given_event(database, "old, but not exported", 0)
    assert delete_old() == 1

    assert subjects(database) == ["younger", "old, but not exported"]


async def test_database_refuses_to_delete_what_was_not_exported(database: Database) -> None:
    given_event(database, "exported", 400)
    await export(database)
    given_event(database, "new", 0)

    with pytest.raises(DBAPIError, match="Export an event before you delete it"):
        database.write_now(Connection.execute, delete(audit_events))
    assert subjects(database) == ["exported", "new"]
    database.write_now(Connection.execute, delete(audit_events).where(audit_events.c.subject_id == "exported"))

    assert subjects(database) == ["new"]


async def test_earlier_export_that_ends_later_takes_nothing_back(database: Database) -> None:
    _, earlier = await audit_export.write_new_events(database, io.StringIO())
    given_event(database, "exported", 301)
    await export(database)

    await audit_export.mark_exported(database, earlier)

    assert await export(database) == []
