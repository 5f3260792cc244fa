"""Converts rows of `requests` to snapshots."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row

from gql_imgproc.database.tables import requests
from gql_imgproc.requests.snapshot import FIELDS, Snapshot

#: Columns that `to_snapshot` needs, for `select` or `returning`.
SNAPSHOT_COLUMNS = tuple(requests.c[name] for name in FIELDS)


def request_of_tenant(tenant_id: UUID, request_id: UUID) -> tuple[ColumnElement[bool], ...]:
    """WHERE terms for a request that a caller names by ID; requests of other tenants are not found."""
    return requests.c.id == request_id, requests.c.tenant_id == tenant_id


def to_snapshot(row: Row[*tuple[Any, ...]]) -> Snapshot:
    """From a row with at least `SNAPSHOT_COLUMNS`."""
    columns = row._mapping
    return Snapshot(**{name: columns[name] for name in FIELDS})
