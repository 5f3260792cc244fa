"""Audit events can be deleted once they were exported.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gql_imgproc.database.types import UtcDateTime

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_NOT_EXPORTED = "The audit log is append-only. Export an event before you delete it."
_SQLITE = [
    "DROP TRIGGER audit_events_no_delete",
    "CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events "
    "WHEN OLD.occurred_at > COALESCE((SELECT exported_until FROM audit_export), 0) "
    f"BEGIN SELECT RAISE(ABORT, '{_NOT_EXPORTED}'); END",
]
_POSTGRESQL = [
    "CREATE FUNCTION audit_events_refuse_deletion() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN "
    "IF OLD.occurred_at > COALESCE((SELECT max(exported_until) FROM audit_export), '-infinity') THEN "
    f"RAISE EXCEPTION '{_NOT_EXPORTED}'; END IF; RETURN OLD; END $$",
    "CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events "
    "FOR EACH ROW EXECUTE FUNCTION audit_events_refuse_deletion()",
    "DROP TRIGGER audit_events_only_grow ON audit_events",
    "CREATE TRIGGER audit_events_only_grow BEFORE UPDATE OR TRUNCATE ON audit_events "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()",
]


def upgrade() -> None:
    audit_export = op.create_table("audit_export", sa.Column("exported_until", UtcDateTime(), nullable=True))
    op.bulk_insert(audit_export, [{"exported_until": None}])
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
