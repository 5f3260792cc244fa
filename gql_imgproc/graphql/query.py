"""Queries: each parses its arguments, reads once, and returns a view of the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import Connection as SqlConnection

from gql_imgproc.access import audit_log, key_repository, quotas, tenant_repository
from gql_imgproc.database.pagination import PageWindow
from gql_imgproc.enums import AuditAction, RequestStatus
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.errors import bad_input
from gql_imgproc.graphql.types.api_key import ApiKey
from gql_imgproc.graphql.types.audit import AuditEvent
from gql_imgproc.graphql.types.connection import MAX_PAGE_SIZE, Connection, CursorKind, paginated, unset_to_none
from gql_imgproc.graphql.types.enums import RequestOrder
from gql_imgproc.graphql.types.estimate import CsvEstimate, EstimateCsvResult
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.image import Image
from gql_imgproc.graphql.types.inputs import UploadCsvInput
from gql_imgproc.graphql.types.node import Node
from gql_imgproc.graphql.types.payloads import typed_errors
from gql_imgproc.graphql.types.preview import CsvPreview, PreviewCsvResult
from gql_imgproc.graphql.types.product import NameContains, Product, StatusArgument, parse_search
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.graphql.types.request_filter import FilterArgument, OrderArgument, RequestFilterInput, RequestList
from gql_imgproc.graphql.types.server_limits import RateLimit, ServerLimits
from gql_imgproc.graphql.types.viewer import Viewer
from gql_imgproc.graphql.types.webhook_endpoint import WebhookEndpoint, WebhookEndpointDelivery
from gql_imgproc.ids import IdPrefix, decode_global_id, parse_global_id
from gql_imgproc.processing.estimate import estimate_upload
from gql_imgproc.requests.limits import quota_limits
from gql_imgproc.requests.preview import preview_upload
from gql_imgproc.requests.repository import product_queries, queries
from gql_imgproc.requests.repository.product_queries import ProductFilter
from gql_imgproc.security.scopes import Scope
from gql_imgproc.webhooks import repository as webhook_repository

Identifier = Annotated[strawberry.ID, strawberry.argument(description="Identifier to fetch.")]


@strawberry.type(description="Entry points for reading.")
class Query:
    @cost_field(
        "Fetches anything by its global identifier; null when it does not exist or is not visible to the caller."
    )
    async def node(self, info: Info, id: Identifier) -> Node | None:
        return (await _find_nodes(info, [id]))[0]

    @cost_field(
        "Fetches up to 100 objects by their global identifiers, in the same order; null in place of one that does not "
        "exist or is not visible to the caller. Each identifier has the cost of the field.",
        cost=10,
    )
    async def nodes(
        self,
        info: Info,
        ids: Annotated[list[strawberry.ID], strawberry.argument(description="Identifiers to fetch.")],
    ) -> list[Node | None]:
        if len(ids) > MAX_PAGE_SIZE:
            raise bad_input(f"`ids` may have at most {MAX_PAGE_SIZE} identifiers.")
        return await _find_nodes(info, ids)

    @cost_field("Fetches a request; null when it does not exist or is not visible to the caller.")
    async def request(self, info: Info, id: Identifier) -> Request | None:
        request_id = parse_global_id(id, IdPrefix.REQUEST)
        snapshot = None if request_id is None else await info.context.read(queries.get_request, request_id)
        return None if snapshot is None else Request.from_snapshot(snapshot)

    @cost_field("Requests visible to the caller.", cost=5)
    @paginated(CursorKind.REQUESTS)
    async def requests(
        self,
        info: Info,
        window: PageWindow,
        status: Annotated[
            RequestStatus | None, strawberry.argument(description="Only requests with this status.")
        ] = strawberry.UNSET,
        filter: FilterArgument = strawberry.UNSET,
        order_by: OrderArgument = RequestOrder.CREATED_AT_DESC,
    ) -> Connection[Request]:
        wanted = (unset_to_none(filter) or RequestFilterInput()).to_filter(unset_to_none(status))
        requests = RequestList(info.context, window, wanted, order_by)
        return requests.to_connection(await requests.read())

    @cost_field("Fetches a product; null when it does not exist or is not visible to the caller.")
    async def product(self, info: Info, id: Identifier) -> Product | None:
        product_id = parse_global_id(id, IdPrefix.PRODUCT)
        row = None if product_id is None else await info.context.read(queries.get_product, product_id)
        return None if row is None else Product.from_row(row)

    @cost_field("Products of all requests visible to the caller.", cost=5)
    @paginated(CursorKind.PRODUCTS)
    async def products(
        self,
        info: Info,
        window: PageWindow,
        name_contains: NameContains = strawberry.UNSET,
        status: StatusArgument = strawberry.UNSET,
    ) -> Connection[Product]:
        read, filter = info.context.read, ProductFilter(parse_search(name_contains), unset_to_none(status))
        page = await read(product_queries.products_page, window, filter)
        count = partial(read, product_queries.count_products, filter)
        return Connection.from_page(CursorKind.PRODUCTS, window, page, Product.from_row, count)

    @cost_field("API keys of the caller's tenant, newest first.", cost=5, scope=Scope.ADMIN)
    @paginated(CursorKind.API_KEYS)
    async def api_keys(
        self,
        info: Info,
        window: PageWindow,
    ) -> Connection[ApiKey]:
        read = info.context.read
        page = await read(key_repository.keys_page, window)
        return Connection.from_page(
            CursorKind.API_KEYS, window, page, ApiKey.from_row, partial(read, key_repository.count_keys)
        )

    @cost_field("The audit log of the caller's tenant, newest first.", cost=5, scope=Scope.ADMIN)
    @paginated(CursorKind.AUDIT)
    async def audit_log(
        self,
        info: Info,
        window: PageWindow,
        action: Annotated[
            AuditAction | None, strawberry.argument(description="Only events of this kind.")
        ] = strawberry.UNSET,
        subject_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only events with this subject.")
        ] = strawberry.UNSET,
    ) -> Connection[AuditEvent]:
        read, action, subject = info.context.read, unset_to_none(action), _parse_subject(unset_to_none(subject_id))
        page = await read(audit_log.events_page, window, action=action, subject_id=subject)
        count = partial(read, audit_log.count_events, action=action, subject_id=subject)
        return Connection.from_page(CursorKind.AUDIT, window, page, AuditEvent.from_row, count)

    @cost_field("Webhook endpoints of the caller's tenant, newest first.", cost=5, scope=Scope.ADMIN)
    @paginated(CursorKind.WEBHOOK_ENDPOINTS)
    async def webhook_endpoints(self, info: Info, window: PageWindow) -> Connection[WebhookEndpoint]:
        read, kind = info.context.read, CursorKind.WEBHOOK_ENDPOINTS
        page = await read(webhook_repository.endpoints_page, window)
        count = partial(read, webhook_repository.count_endpoints)
        return Connection.from_page(kind, window, page, WebhookEndpoint.from_row, count)

    @cost_field(
        "Deliveries to a webhook endpoint of the caller's tenant in the last 30 days, newest first.",
        cost=5,
        scope=Scope.ADMIN,
    )
    @paginated(CursorKind.WEBHOOK_DELIVERIES)
    async def webhook_deliveries(
        self,
        info: Info,
        window: PageWindow,
        endpoint_id: Annotated[strawberry.ID, strawberry.argument(description="The endpoint.")],
    ) -> Connection[WebhookEndpointDelivery]:
        read, kind = info.context.read, CursorKind.WEBHOOK_DELIVERIES
        # A malformed ID becomes the nil UUID, which no endpoint has.
        endpoint = parse_global_id(endpoint_id, IdPrefix.WEBHOOK_ENDPOINT) or UUID(int=0)
        page = await read(webhook_repository.deliveries_page, window, endpoint)
        count = partial(read, webhook_repository.count_deliveries, endpoint)
        return Connection.from_page(kind, window, page, WebhookEndpointDelivery.from_row, count)

    @cost_field("The caller, its tenant, and what that tenant uses.", cost=5)
    async def viewer(self, info: Info) -> Viewer:
        caller, limits = info.context.caller, quota_limits(info.context.settings, info.context.caller)
        tenant, usage = await info.context.read(_read_tenant, limits or quotas.Limits())
        return Viewer.from_caller(caller, tenant, usage, has_quotas=limits is not None)

    @cost_field(
        "Shows how `uploadCsv` would read a file with the same input, without an upload. "
        "The first 64 KiB of a CSV file suffice; a workbook must be complete.",
        cost=10,
        scope=Scope.WRITE,
    )
    @typed_errors("file")
    async def preview_csv(
        self, info: Info, input: Annotated[UploadCsvInput, strawberry.argument(description="File and options.")]
    ) -> PreviewCsvResult:
        return CsvPreview.from_table(*await preview_upload(info.context.runtime, input.to_upload()))

    @cost_field(
        "Estimates what `uploadCsv` would save with the same file and input. A worker downloads and compresses a "
        "sample of 200 images and stores nothing. It answers within 30 s. A tenant may run one estimate at a time.",
        cost=100,
        scope=Scope.WRITE,
    )
    @typed_errors("file")
    async def estimate_csv(
        self, info: Info, input: Annotated[UploadCsvInput, strawberry.argument(description="File and options.")]
    ) -> EstimateCsvResult:
        found = await estimate_upload(info.context.runtime, info.context.caller, input.to_upload())
        return CsvEstimate.from_estimate(found)

    @cost_field("Limits in force.")
    def limits(self, info: Info) -> ServerLimits:
        return ServerLimits.from_settings(info.context.settings)

    @cost_field("The caller's rate limit for operations; null when it has none.")
    async def rate_limit(self, info: Info) -> RateLimit | None:
        status = await info.context.app_state.rate_limiter.status(info.context.caller)
        return None if status is None else RateLimit.from_status(status)


async def _find_nodes(info: Info, ids: Sequence[str]) -> list[Node | None]:
    """The objects with these global IDs, read in one transaction; None for each that the caller does not see."""
    is_admin = Scope.ADMIN in info.context.caller.scopes
    keys = [key if (key := decode_global_id(id)) and (is_admin or key[0] not in _ADMIN_ONLY) else None for id in ids]
    rows = await info.context.read(_read_rows, keys) if any(keys) else [None] * len(ids)
    return [_to_node(info, key[0], row) if key and row else None for key, row in zip(keys, rows, strict=True)]


_ADMIN_ONLY = frozenset({IdPrefix.API_KEY, IdPrefix.AUDIT_EVENT, IdPrefix.WEBHOOK_ENDPOINT, IdPrefix.WEBHOOK_DELIVERY})
#: How each kind of object is read, and shown.
_NODES: dict[IdPrefix, tuple[Callable[[SqlConnection, UUID, UUID], object], Callable[..., Node]]] = {
    IdPrefix.REQUEST: (queries.get_request, Request.from_snapshot),
    IdPrefix.PRODUCT: (queries.get_product, Product.from_row),
    IdPrefix.IMAGE: (queries.get_image, Image.from_row),
    IdPrefix.API_KEY: (key_repository.get_key, ApiKey.from_row),
    IdPrefix.AUDIT_EVENT: (audit_log.get_event, AuditEvent.from_row),
    IdPrefix.WEBHOOK_ENDPOINT: (webhook_repository.get_endpoint, WebhookEndpoint.from_row),
    IdPrefix.WEBHOOK_DELIVERY: (webhook_repository.get_delivery, WebhookEndpointDelivery.from_row),
}


def _read_rows(connection: SqlConnection, tenant_id: UUID, keys: Sequence[tuple[IdPrefix, UUID] | None]) -> list[Any]:
    return [_NODES[key[0]][0](connection, tenant_id, key[1]) if key else None for key in keys]


def _to_node(info: Info, kind: IdPrefix, row: Any) -> Node:
    if kind is IdPrefix.IMAGE:
        image, input_url = row
        return Image.from_row(image, input_url, info.context.image_url)
    return _NODES[kind][1](row)


def _read_tenant(connection: SqlConnection, tenant_id: UUID, limits: quotas.Limits) -> tuple[str, quotas.QuotaUsage]:
    return (
        tenant_repository.get_tenant_name(connection, tenant_id),
        quotas.read_usage(connection, tenant_id, limits),
    )


def _parse_subject(id: str | None) -> str | None:
    """The subject to filter by. A malformed ID becomes the empty text, which no event has."""
    return id if id is None or decode_global_id(id) else ""
