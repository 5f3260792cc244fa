"""Creates tenants and sets their quotas: for operators at the command line."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from gql_imgproc.access import audit_log, quotas, tenant_repository
from gql_imgproc.database.engine import Database
from gql_imgproc.enums import AuditAction, Quota
from gql_imgproc.errors import ApiKeyInvalid, TenantExists, TenantNotFound
from gql_imgproc.security.api_key import check_name
from gql_imgproc.security.scopes import cli_caller


async def create(db: Database, user: str, name: str) -> UUID:
    """Creates a tenant. Raises ApiKeyInvalid or TenantExists."""
    if problem := check_name(name):
        raise ApiKeyInvalid("name", problem)
    return await db.write(_create, user, name)


async def set_quotas(db: Database, user: str, name: str, overrides: Mapping[Quota, int | None]) -> None:
    """Overrides quotas for a tenant; 0 is unlimited, None is the service's setting. Raises TenantNotFound."""
    await db.write(_set_quotas, user, name, overrides)


async def get_by_name(db: Database, name: str) -> UUID:
    """The ID of the tenant with this name. Raises TenantNotFound."""
    return await db.read(_get_by_name, name)


def _create(connection: Connection, user: str, name: str) -> UUID:
    try:
        tenant_id = tenant_repository.insert_tenant(connection, name)
    except IntegrityError:
        raise TenantExists from None
    audit_log.record_event(connection, cli_caller(tenant_id, user), AuditAction.TENANT_CREATED, name=name)
    return tenant_id


def _set_quotas(connection: Connection, user: str, name: str, overrides: Mapping[Quota, int | None]) -> None:
    tenant_id = _get_by_name(connection, name)
    quotas.set_overrides(connection, tenant_id, overrides)
    details = {quota.value.lower(): "default" if limit is None else str(limit) for quota, limit in overrides.items()}
    audit_log.record_event(connection, cli_caller(tenant_id, user), AuditAction.QUOTAS_SET, **details)


def _get_by_name(connection: Connection, name: str) -> UUID:
    tenant_id = tenant_repository.find_tenant(connection, name)
    if tenant_id is None:
        raise TenantNotFound
    return tenant_id
