"""Queries: each parses its arguments, reads once, and returns a view of the result."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

import strawberry
from sqlalchemy import Connection

from gql_imgproc.access import audit_log, key_repository, quotas, tenant_repository
from gql_imgproc.enums import AuditAction, ProductStatus, RequestStatus
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.types.api_key import ApiKey, ApiKeyConnection
from gql_imgproc.graphql.types.audit import AuditEvent, AuditEventConnection
from gql_imgproc.graphql.types.connection import (
    After,
    Before,
    CursorKind,
    First,
    Last,
    parse_connection_args,
    unset_to_none,
)
from gql_imgproc.graphql.types.enums import RequestOrder
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.image import Image
from gql_imgproc.graphql.types.node import Node, parse_global_id
from gql_imgproc.graphql.types.product import NameContains, Product, ProductConnection, parse_search
from gql_imgproc.graphql.types.request import Request, RequestConnection
from gql_imgproc.graphql.types.server_limits import RateLimit, ServerLimits
from gql_imgproc.graphql.types.viewer import Viewer
from gql_imgproc.ids import IdPrefix, decode_global_id
from gql_imgproc.requests.limits import quota_limits
from gql_imgproc.requests.repository import product_queries, queries
from gql_imgproc.security.scopes import Scope

Identifier = Annotated[strawberry.ID, strawberry.argument(description="Identifier to fetch.")]


@strawberry.type(description="Entry points for reading.")
class Query:
    @cost_field(
        "Fetches anything by its global identifier; null when it does not exist or is not visible to the caller."
    )
    async def node(self, info: Info, id: Identifier) -> Node | None:
        is_admin = Scope.ADMIN in info.context.caller.scopes
        match decode_global_id(id):
            case (IdPrefix.REQUEST, request_id):
                return await _request(info, request_id)
            case (IdPrefix.PRODUCT, product_id):
                return await _product(info, product_id)
            case (IdPrefix.IMAGE, image_id):
                return await _image(info, image_id)
            case (IdPrefix.API_KEY, key_id) if is_admin:
                return await _api_key(info, key_id)
            case (IdPrefix.AUDIT_EVENT, event_id) if is_admin:
                return await _audit_event(info, event_id)
        return None

    @cost_field("Fetches a request; null when it does not exist or is not visible to the caller.")
    async def request(self, info: Info, id: Identifier) -> Request | None:
        request_id = parse_global_id(id, IdPrefix.REQUEST)
        return None if request_id is None else await _request(info, request_id)

    @cost_field("Requests visible to the caller.", cost=5)
    async def requests(
        self,
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
        status: Annotated[
            RequestStatus | None, strawberry.argument(description="Only requests with this status.")
        ] = strawberry.UNSET,
        order_by: Annotated[
            RequestOrder, strawberry.argument(description="Order of the list.")
        ] = RequestOrder.CREATED_AT_DESC,
    ) -> RequestConnection:
        read, status, oldest_first = info.context.read, unset_to_none(status), order_by is RequestOrder.CREATED_AT_ASC
        window = parse_connection_args(CursorKind.REQUESTS, first, after, last, before)
        page = await read(queries.requests_page, window, status=status, oldest_first=oldest_first)
        return RequestConnection.from_page(window, page, partial(read, queries.count_requests, status=status))

    @cost_field("Fetches a product; null when it does not exist or is not visible to the caller.")
    async def product(self, info: Info, id: Identifier) -> Product | None:
        product_id = parse_global_id(id, IdPrefix.PRODUCT)
        return None if product_id is None else await _product(info, product_id)

    @cost_field("Products of all requests visible to the caller.", cost=5)
    async def products(
        self,
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
        name_contains: NameContains = strawberry.UNSET,
        status: Annotated[
            ProductStatus | None, strawberry.argument(description="Only products with this status.")
        ] = strawberry.UNSET,
    ) -> ProductConnection:
        read, text, status = info.context.read, parse_search(name_contains), unset_to_none(status)
        window = parse_connection_args(CursorKind.PRODUCTS, first, after, last, before)
        page = await read(product_queries.products_page, window, name_contains=text, status=status)
        count = partial(read, product_queries.count_products, name_contains=text, status=status)
        return ProductConnection.from_page(CursorKind.PRODUCTS, window, page, count)

    @cost_field("API keys of the caller's tenant, newest first.", cost=5, scope=Scope.ADMIN)
    async def api_keys(
        self,
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> ApiKeyConnection:
        read, window = info.context.read, parse_connection_args(CursorKind.API_KEYS, first, after, last, before)
        page = await read(key_repository.keys_page, window)
        return ApiKeyConnection.from_page(window, page, partial(read, key_repository.count_keys))

    @cost_field("The audit log of the caller's tenant, newest first.", cost=5, scope=Scope.ADMIN)
    async def audit_log(
        self,
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
        action: Annotated[
            AuditAction | None, strawberry.argument(description="Only events of this kind.")
        ] = strawberry.UNSET,
        subject_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only events with this subject.")
        ] = strawberry.UNSET,
    ) -> AuditEventConnection:
        read, action, subject = info.context.read, unset_to_none(action), _parse_subject(unset_to_none(subject_id))
        window = parse_connection_args(CursorKind.AUDIT, first, after, last, before)
        page = await read(audit_log.events_page, window, action=action, subject_id=subject)
        count = partial(read, audit_log.count_events, action=action, subject_id=subject)
        return AuditEventConnection.from_page(window, page, count)

    @cost_field("The caller, its tenant, and what that tenant uses.", cost=5)
    async def viewer(self, info: Info) -> Viewer:
        caller, limits = info.context.caller, quota_limits(info.context.settings, info.context.caller)
        tenant, usage = await info.context.read(_read_tenant, limits or quotas.Limits())
        return Viewer.from_caller(caller, tenant, usage, has_quotas=limits is not None)

    @cost_field("Limits in force.")
    def limits(self, info: Info) -> ServerLimits:
        return ServerLimits.from_settings(info.context.settings)

    @cost_field("The caller's rate limit for operations; null when it has none.")
    async def rate_limit(self, info: Info) -> RateLimit | None:
        status = await info.context.app_state.rate_limiter.status(info.context.caller)
        return None if status is None else RateLimit.from_status(status)


async def _request(info: Info, request_id: UUID) -> Request | None:
    snapshot = await info.context.read(queries.get_request, request_id)
    return None if snapshot is None else Request.from_snapshot(snapshot)


async def _product(info: Info, product_id: UUID) -> Product | None:
    row = await info.context.read(queries.get_product, product_id)
    return None if row is None else Product.from_row(row)


async def _image(info: Info, image_id: UUID) -> Image | None:
    found = await info.context.read(queries.get_image, image_id)
    return None if found is None else Image.from_row(*found, info.context.image_url)


async def _api_key(info: Info, key_id: UUID) -> ApiKey | None:
    key = await info.context.read(key_repository.get_key, key_id)
    return None if key is None else ApiKey.from_row(key)


async def _audit_event(info: Info, event_id: UUID) -> AuditEvent | None:
    event = await info.context.read(audit_log.get_event, event_id)
    return None if event is None else AuditEvent.from_row(event)


def _read_tenant(connection: Connection, tenant_id: UUID, limits: quotas.Limits) -> tuple[str, quotas.QuotaUsage]:
    return (
        tenant_repository.get_tenant_name(connection, tenant_id),
        quotas.read_usage(connection, tenant_id, limits),
    )


def _parse_subject(id: str | None) -> str | None:
    """The subject to filter by. A malformed ID becomes the empty text, which no event has."""
    return id if id is None or decode_global_id(id) else ""
