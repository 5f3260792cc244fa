"""Given: API keys, made as the service makes them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from gql_imgproc.core.api_keys import new_key, presented
from gql_imgproc.core.rights import Scope
from gql_imgproc.db import keys, tenants
from gql_imgproc.db.engine import Database
from gql_imgproc.identifiers import DEFAULT_TENANT


def given_tenant(database: Database, name: str) -> UUID:
    return database.write_now(lambda connection: tenants.insert_tenant(connection, name))


def given_key(
    database: Database,
    tenant_id: UUID = DEFAULT_TENANT,
    *scopes: Scope,
    name: str = "shop",
    expires_at: datetime | None = None,
) -> tuple[str, UUID]:
    """The text of a new key, with all scopes unless some are named, and its identifier."""
    text = new_key()
    form = presented(text)
    assert form is not None
    made = database.write_now(
        lambda connection: keys.insert_key(connection, tenant_id, form, name, scopes or tuple(Scope), expires_at)
    )
    return text, made.id


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
