"""The audit log is append-only for every client of the database."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from gql_imgproc.access import audit_log
from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import audit_events
from gql_imgproc.enums import AuditAction
from gql_imgproc.security.scopes import anonymous_caller

REFUSED = "The audit log is append-only."


def rows(database: Database) -> list[Any]:
    return database.read_now(lambda connection: list(connection.execute(select(audit_events))))


@pytest.mark.parametrize(
    "what", ["update", "delete", "update of none", "delete of none", "replace", "upsert", "truncate"]
)
def test_audit_events_are_append_only(database: Database, what: str) -> None:
    database.write_now(
        audit_log.record_event, anonymous_caller("192.0.2.1", is_unlimited=True), AuditAction.REQUEST_ACCEPTED, "x"
    )
    (before,) = rows(database)
    same = dict(before._mapping) | {"actor": "somebody else"}
    upsert = "ON CONFLICT (id) DO UPDATE SET actor = 'somebody else'"
    nobody = audit_events.c.actor == "nobody"
    statement: Any = {
        "update": update(audit_events).values(actor="somebody else"),
        "delete": delete(audit_events),
        "update of none": update(audit_events).where(nobody).values(actor="x"),
        "delete of none": delete(audit_events).where(nobody),
        "replace": insert(audit_events).prefix_with("OR REPLACE").values(same) if database.sqlite else None,
        "upsert": text(f"INSERT INTO audit_events SELECT * FROM audit_events WHERE true {upsert}"),
        "truncate": None if database.sqlite else text("TRUNCATE audit_events"),
    }[what]
    if statement is None:
        pytest.skip("this database has no such statement")
    if what == "delete of none" or (database.sqlite and what == "update of none"):
        # These triggers run per row, and no row matches.
        database.write_now(Connection.execute, statement)
    else:
        with pytest.raises(DBAPIError, match=REFUSED):
            database.write_now(Connection.execute, statement)

    assert rows(database) == [before]


def test_rolled_back_transaction_leaves_no_audit_event(database: Database) -> None:
    def work(connection: Any) -> None:
        audit_log.record_event(connection, anonymous_caller("", is_unlimited=True), AuditAction.REQUEST_ACCEPTED, "x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write_now(work)

    assert rows(database) == []
