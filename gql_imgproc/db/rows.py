"""From rows to values that leave the database's room."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from gql_imgproc.core.progress import FIELDS, Snapshot
from gql_imgproc.db.models import requests

#: What `snapshot` needs, to be passed to `select` or `returning`.
SNAPSHOT_COLUMNS = tuple(requests.c[name] for name in FIELDS)


def snapshot(row: Row[*tuple[Any, ...]]) -> Snapshot:
    """The state of a request, from a row that has at least `SNAPSHOT_COLUMNS`."""
    columns = row._mapping
    return Snapshot(**{name: columns[name] for name in FIELDS})
