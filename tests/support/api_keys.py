"""API keys and tenants for tests, created as the service creates them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from gql_imgproc.access import key_repository, tenant_repository
from gql_imgproc.database.engine import Database
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.security.api_key import generate_api_key, parse_api_key
from gql_imgproc.security.scopes import Scope


def given_tenant(database: Database, name: str) -> UUID:
    return database.write_now(tenant_repository.insert_tenant, name)


def given_key(
    database: Database,
    tenant_id: UUID = DEFAULT_TENANT,
    *scopes: Scope,
    name: str = "shop",
    expires_at: datetime | None = None,
) -> tuple[str, UUID]:
    """Create an API key, with all scopes by default. Returns its text and its ID."""
    text = generate_api_key()
    parsed = parse_api_key(text)
    assert parsed is not None
    key = database.write_now(key_repository.insert_key, tenant_id, parsed, name, scopes or tuple(Scope), expires_at)
    return text, key.id


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
