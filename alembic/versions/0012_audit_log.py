"""The audit log, which only grows; and which key took over from a rotated one.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gql_imgproc.database.types import UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_REFUSED = "Events of the audit log are neither changed nor removed."


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("successor_id", sa.Uuid(), nullable=True))
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject_id", sa.String(64), nullable=True),
        sa.Column("address", sa.String(100), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
        # A row that had a number beside its identifier could be replaced by that number.
        sqlite_with_rowid=False,
    )
    op.create_index("ix_audit_events_tenant_id_id", "audit_events", ["tenant_id", "id"])
    op.create_index("ix_audit_events_tenant_id_action_id", "audit_events", ["tenant_id", "action", "id"])
    op.create_index("ix_audit_events_tenant_id_subject_id_id", "audit_events", ["tenant_id", "subject_id", "id"])
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.get_bind().exec_driver_sql(statement)


_SQLITE = [
    *(
        f"CREATE TRIGGER audit_events_no_{deed.lower()} BEFORE {deed} ON audit_events "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        for deed in ("UPDATE", "DELETE")
    ),
    # INSERT OR REPLACE removes the old row without asking the trigger above.
    "CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events "
    "WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id) "
    f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
]
_POSTGRESQL = [
    "CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSED}'; END $$",
    # For each statement, so that one is refused even when it finds no row.
    "CREATE TRIGGER audit_events_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()",
]


def downgrade() -> None:
    raise NotImplementedError("the audit log is not removed")
