"""From rows to values that leave the database's room."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row

from gql_imgproc.database.tables import requests
from gql_imgproc.requests.snapshot import FIELDS, Snapshot

#: What `to_snapshot` needs, to be passed to `select` or `returning`.
SNAPSHOT_COLUMNS = tuple(requests.c[name] for name in FIELDS)


def request_of_tenant(tenant_id: UUID, request_id: UUID) -> tuple[ColumnElement[bool], ...]:
    """For the WHERE of whatever a caller asks of a request by its identifier: another tenant's is as none."""
    return requests.c.id == request_id, requests.c.tenant_id == tenant_id


def to_snapshot(row: Row[*tuple[Any, ...]]) -> Snapshot:
    """The state of a request, from a row that has at least `SNAPSHOT_COLUMNS`."""
    columns = row._mapping
    return Snapshot(**{name: columns[name] for name in FIELDS})
