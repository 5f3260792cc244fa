"""Statements of the hold: the right to ingest or to finish a request, alone, until its lease runs out."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, update

from gql_imgproc.core.progress import Snapshot
from gql_imgproc.db.columns import later, now
from gql_imgproc.db.models import is_open, requests
from gql_imgproc.db.rows import SNAPSHOT_COLUMNS, snapshot


@dataclass(frozen=True, slots=True)
class Hold:
    """A request that is ours, as it was when we took it."""

    request: Snapshot
    token: int


def mine(hold: Hold) -> tuple[ColumnElement[bool], ...]:
    """For the WHERE of whatever is written under the hold."""
    return requests.c.id == hold.request.id, requests.c.hold_token == hold.token, is_open


def take(connection: Connection, request_id: UUID, lease_s: float) -> Hold | None:
    """Holds an open request for so long; None when another does, or when it is final."""
    row = connection.execute(
        update(requests)
        .where(requests.c.id == request_id, requests.c.due_at <= now(), is_open)
        .values(due_at=later(lease_s), hold_token=requests.c.hold_token + 1)
        .returning(*SNAPSHOT_COLUMNS, requests.c.hold_token)
    ).one_or_none()
    return Hold(snapshot(row), row.hold_token) if row else None


def extend(connection: Connection, hold: Hold, lease_s: float) -> bool:
    """Holds on for so long from now; False when the hold is lost. Who has ended the request has not lost it."""
    ours = requests.c.id == hold.request.id, requests.c.hold_token == hold.token
    return connection.execute(update(requests).where(*ours).values(due_at=later(lease_s))).rowcount == 1


def release(connection: Connection, hold: Hold) -> None:
    """Gives a hold back before its time."""
    connection.execute(update(requests).where(*mine(hold)).values(due_at=now()))
