"""Statements on the secrets that addresses are signed with."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from gql_imgproc.db.columns import now
from gql_imgproc.db.models import signing_secrets
from gql_imgproc.identifiers import new_id


def secrets(connection: Connection) -> list[str]:
    """The newest, which signs, and the one before, which is still believed."""
    newest = select(signing_secrets.c.secret).order_by(signing_secrets.c.created_at.desc(), signing_secrets.c.id.desc())
    return list(connection.scalars(newest.limit(2)))


def insert_secret(connection: Connection, secret: str) -> None:
    connection.execute(insert(signing_secrets).values(id=new_id(), secret=secret, created_at=now()))
