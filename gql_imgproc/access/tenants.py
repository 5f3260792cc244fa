"""Making tenants: for whoever runs the service, who has the database."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from gql_imgproc.access import audit_log, quotas, tenant_repository
from gql_imgproc.enums import AuditAction, Quota
from gql_imgproc.errors import KeyInvalid, TenantExists, TenantNotFound
from gql_imgproc.security.api_key import check_name
from gql_imgproc.security.scopes import cli_caller


def create(connection: Connection, user: str, name: str) -> UUID:
    """Makes a tenant; its log begins with that. Raises KeyInvalid or TenantExists."""
    if fault := check_name(name):
        raise KeyInvalid("name", fault)
    try:
        tenant_id = tenant_repository.insert_tenant(connection, name)
    except IntegrityError:
        raise TenantExists from None
    audit_log.record_event(connection, cli_caller(tenant_id, user), AuditAction.TENANT_CREATED, name=name)
    return tenant_id


def set_quotas(connection: Connection, user: str, name: str, own: Mapping[Quota, int | None]) -> None:
    """Gives a tenant quotas of its own; 0: no limit, None: those of the service. Raises TenantNotFound."""
    tenant_id = get_by_name(connection, name)
    quotas.set_overrides(connection, tenant_id, own)
    told = {quota.value.lower(): "usual" if limit is None else str(limit) for quota, limit in own.items()}
    audit_log.record_event(connection, cli_caller(tenant_id, user), AuditAction.QUOTAS_SET, **told)


def get_by_name(connection: Connection, name: str) -> UUID:
    """The tenant of that name. Raises TenantNotFound."""
    tenant_id = tenant_repository.find_tenant(connection, name)
    if tenant_id is None:
        raise TenantNotFound
    return tenant_id
