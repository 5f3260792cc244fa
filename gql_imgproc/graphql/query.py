"""Entry points for reading: each reads its input, asks the database once, and shows what it got."""

from __future__ import annotations

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
    ConnectionArgs,
    First,
    Last,
    parse_connection_args,
    unset_to_none,
)
from gql_imgproc.graphql.types.enums import RequestOrder
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.image import Image
from gql_imgproc.graphql.types.node import Node
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
        named = decode_global_id(id)
        match named and named[0]:
            case IdPrefix.REQUEST:
                return await _request(info, id)
            case IdPrefix.PRODUCT:
                return await _product(info, id)
            case IdPrefix.IMAGE:
                return await _image(info, id)
            case IdPrefix.API_KEY if named and Scope.ADMIN in info.context.caller.scopes:
                return await _api_key(info, named[1])
            case IdPrefix.AUDIT_EVENT if named and Scope.ADMIN in info.context.caller.scopes:
                return await _audit_event(info, named[1])
        return None

    @cost_field("Fetches a request; null when it does not exist or is not visible to the caller.")
    async def request(self, info: Info, id: Identifier) -> Request | None:
        return await _request(info, id)

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
        asked = parse_connection_args(ConnectionArgs.REQUESTS, first, after, last, before)
        wanted, oldest_first = unset_to_none(status), order_by is RequestOrder.CREATED_AT_ASC
        db, tenant_id = info.context.runtime.db, info.context.caller.tenant_id
        page = await db.read(queries.requests_page, tenant_id, asked, status=wanted, oldest_first=oldest_first)
        return RequestConnection.of(
            asked,
            page,
            lambda: db.read(queries.count_requests, tenant_id, status=wanted),
        )

    @cost_field("Fetches a product; null when it does not exist or is not visible to the caller.")
    async def product(self, info: Info, id: Identifier) -> Product | None:
        return await _product(info, id)

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
        asked = parse_connection_args(ConnectionArgs.PRODUCTS, first, after, last, before)
        text, wanted = parse_search(name_contains), unset_to_none(status)
        db, tenant_id = info.context.runtime.db, info.context.caller.tenant_id
        page = await db.read(product_queries.products_page, tenant_id, asked, name_contains=text, status=wanted)
        return ProductConnection.of(
            ConnectionArgs.PRODUCTS,
            asked,
            page,
            lambda: db.read(product_queries.count_products, tenant_id, name_contains=text, status=wanted),
        )

    @cost_field("API keys of the caller's tenant, the newest first.", cost=5, scope=Scope.ADMIN)
    async def api_keys(
        self,
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> ApiKeyConnection:
        asked = parse_connection_args(ConnectionArgs.API_KEYS, first, after, last, before)
        db, tenant_id = info.context.runtime.db, info.context.caller.tenant_id
        page = await db.read(key_repository.keys_page, tenant_id, asked)
        return ApiKeyConnection.of(asked, page, lambda: db.read(key_repository.count_keys, tenant_id))

    @cost_field("What was done in the name of the caller's tenant, the newest first.", cost=5, scope=Scope.ADMIN)
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
            strawberry.ID | None, strawberry.argument(description="Only what was done to this thing.")
        ] = strawberry.UNSET,
    ) -> AuditEventConnection:
        asked = parse_connection_args(ConnectionArgs.AUDIT, first, after, last, before)
        wanted, subject = unset_to_none(action), _subject(unset_to_none(subject_id))
        db, tenant_id = info.context.runtime.db, info.context.caller.tenant_id
        page = await db.read(audit_log.events_page, tenant_id, asked, action=wanted, subject_id=subject)
        return AuditEventConnection.of(
            asked,
            page,
            lambda: db.read(audit_log.count_events, tenant_id, action=wanted, subject_id=subject),
        )

    @cost_field("Who the caller is.", cost=5)
    async def viewer(self, info: Info) -> Viewer:
        caller, limits = info.context.caller, quota_limits(info.context.settings, info.context.caller)

        def read(connection: Connection) -> tuple[str, quotas.QuotaUsage]:
            tenant = tenant_repository.get_tenant_name(connection, caller.tenant_id)
            return tenant, quotas.read_usage(connection, caller.tenant_id, limits or quotas.Limits())

        tenant, standing = await info.context.runtime.db.read(read)
        return Viewer.of(caller, tenant, standing, bound=limits is not None)

    @cost_field("Limits in force.")
    def limits(self, info: Info) -> ServerLimits:
        return ServerLimits.of(info.context.settings)

    @cost_field("What is left of the rate of the caller's operations; null when it has no limit.")
    async def rate_limit(self, info: Info) -> RateLimit | None:
        left = await info.context.app_state.rate_limiter.status(info.context.caller)
        return None if left is None else RateLimit.of(left)


async def _request(info: Info, id: str) -> Request | None:
    named = decode_global_id(id)
    if named is None or named[0] is not IdPrefix.REQUEST:
        return None
    db, tenant_id = info.context.runtime.db, info.context.caller.tenant_id
    found = await db.read(queries.get_request, tenant_id, named[1])
    return None if found is None else Request.of(found)


async def _product(info: Info, id: str) -> Product | None:
    named = decode_global_id(id)
    if named is None or named[0] is not IdPrefix.PRODUCT:
        return None
    db, tenant_id = info.context.runtime.db, info.context.caller.tenant_id
    row = await db.read(queries.get_product, tenant_id, named[1])
    return None if row is None else Product.of(row)


async def _image(info: Info, id: str) -> Image | None:
    named = decode_global_id(id)
    if named is None or named[0] is not IdPrefix.IMAGE:
        return None
    db, tenant_id = info.context.runtime.db, info.context.caller.tenant_id
    found = await db.read(queries.get_image, tenant_id, named[1])
    return None if found is None else Image.of(*found, info.context.image_url)


def _subject(id: str | None) -> str | None:
    """What may stand in the log: nothing was ever done to what has not the form of an identifier."""
    return id if id is None or decode_global_id(id) else ""


async def _api_key(info: Info, key_id: UUID) -> ApiKey | None:
    db, tenant_id = info.context.runtime.db, info.context.caller.tenant_id
    found = await db.read(key_repository.get_key, tenant_id, key_id)
    return None if found is None else ApiKey.of(found)


async def _audit_event(info: Info, event_id: UUID) -> AuditEvent | None:
    db, tenant_id = info.context.runtime.db, info.context.caller.tenant_id
    found = await db.read(audit_log.get_event, tenant_id, event_id)
    return None if found is None else AuditEvent.of(found)
