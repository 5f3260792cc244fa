"""Requests: thin views of snapshots."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated

import strawberry

from gql_imgproc.database.pagination import PageWindow
from gql_imgproc.enums import Priority, ProductStatus, RequestFailureCode, RequestStatus
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.loaders import ProductCountKey, ProductFilter, ProductPageKey
from gql_imgproc.graphql.types.connection import Connection, CursorKind, paginated, unset_to_none
from gql_imgproc.graphql.types.csv_issue import CsvIssue
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.node import Node
from gql_imgproc.graphql.types.options import ProcessingOptions
from gql_imgproc.graphql.types.product import NameContains, Product, parse_search
from gql_imgproc.graphql.types.scalars import URL, ByteCount
from gql_imgproc.graphql.types.webhook import WebhookDelivery
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.imaging.options import Options
from gql_imgproc.requests.snapshot import FIELDS, Snapshot
from gql_imgproc.storage import paths

_FAILURE_MESSAGES = {
    RequestFailureCode.CSV_UNREADABLE: "The stored CSV file could not be read again. Upload it once more.",
    RequestFailureCode.ALL_IMAGES_FAILED: "Every image failed. See `error` of each image.",
    RequestFailureCode.DEADLINE: "The deadline of the request passed before all its images were processed.",
    RequestFailureCode.INTERNAL: "The service could not finish the request. Retry its failed images later.",
}


@strawberry.type(description="Why a whole request failed.")
class RequestFailure:
    code: RequestFailureCode = strawberry.field(description="Machine-readable reason.")
    message: str = strawberry.field(description="A sentence for people.")


@strawberry.type(description="One uploaded CSV file and the processing of its images.")
class Request(Node):
    snapshot: strawberry.Private[Snapshot]
    status: RequestStatus = strawberry.field(description="Status of the request.")
    priority: Priority = strawberry.field(description="How urgent the request is.")
    sequence: int = strawberry.field(
        description="A number that grows with every change of the request; "
        "a client can drop an event whose number is not greater than the last one it received."
    )
    created_at: datetime = strawberry.field(description="When the request was accepted.")
    updated_at: datetime = strawberry.field(description="When anything in the request last changed.")
    started_at: datetime | None = strawberry.field(description="When the first worker started the request.")
    completed_at: datetime | None = strawberry.field(description="When the request reached its final status.")
    estimated_completion_at: datetime | None = strawberry.field(
        description="When the request is expected to finish; null when that is not known or the status is final."
    )
    csv_filename: str = strawberry.field(description="Name of the uploaded file without any path.")
    total_products: int = strawberry.field(description="Number of products in the file.")
    processed_products: int = strawberry.field(description="Number of finished products without a failed image.")
    failed_products: int = strawberry.field(description="Number of finished products with at least one failed image.")
    total_images: int = strawberry.field(description="Number of images in the file.")
    processed_images: int = strawberry.field(description="Number of completed images, including kept ones.")
    failed_images: int = strawberry.field(description="Number of failed images.")
    cancelled_images: int = strawberry.field(
        description="Number of images that were not processed because the request was cancelled."
    )
    kept_images: int = strawberry.field(
        description="Number of completed images whose original bytes were kept "
        "because compression would not have helped."
    )
    progress_percent: float = strawberry.field(
        description="Share of the images that are completed, failed or cancelled, from 0 to 100."
    )
    input_bytes: ByteCount = strawberry.field(description="Bytes of the images downloaded so far.")
    output_bytes: ByteCount = strawberry.field(description="Bytes of the images stored so far.")

    @cost_field("Images recently finished per second; null when that is not known or the status is final.")
    def images_per_second(self) -> float | None:
        return self.snapshot.rate

    @cost_field("Options of the request, including defaults.")
    def options(self) -> ProcessingOptions:
        return ProcessingOptions.from_options(Options.from_json(self.snapshot.options))

    @cost_field("Warnings about the CSV file, which was accepted.")
    def warnings(self, info: Info) -> list[CsvIssue]:
        info.context.budget.charge(len(self.snapshot.warnings))
        return [CsvIssue.from_json(warning) for warning in self.snapshot.warnings]

    @cost_field("URL of the output CSV; null while the status is not final or when there is none.")
    def output_csv_url(self, info: Info) -> URL | None:
        if not (self.snapshot.status.is_terminal and self.snapshot.has_output):
            return None
        return URL(info.context.signed_url(paths.download_path(self.snapshot.id)))

    @cost_field("When `outputCsvUrl` stops working; null when it does not expire.")
    def output_csv_expires_at(self, info: Info) -> datetime | None:
        if not (self.snapshot.status.is_terminal and self.snapshot.has_output):
            return None
        days, completed_at = info.context.settings.retention_days, self.snapshot.completed_at
        deleted_at = completed_at + timedelta(days=days) if days and completed_at else None
        return min((end for end in (deleted_at, info.context.signed_url_expires_at()) if end), default=None)

    @cost_field("Why the request as a whole failed.")
    def failure(self) -> RequestFailure | None:
        code = self.snapshot.failure_code
        return None if code is None else RequestFailure(code=code, message=_FAILURE_MESSAGES[code])

    @cost_field("Delivery of the completion webhook; null when none was requested.")
    async def webhook(self, info: Info) -> WebhookDelivery | None:
        if self.snapshot.webhook_url is None:
            return None
        row = await info.context.loaders.deliveries.load((self.snapshot.id, self.snapshot.generation))
        info.context.budget.charge(len(row.log) if row else 0)
        return WebhookDelivery.from_row(self.snapshot.webhook_url, row)

    @cost_field("Products of the request in the order of the file.", cost=2)
    @paginated(CursorKind.PRODUCTS_OF_REQUEST)
    async def products(
        self,
        info: Info,
        window: PageWindow,
        name_contains: NameContains = strawberry.UNSET,
        status: Annotated[
            ProductStatus | None, strawberry.argument(description="Only products with this status.")
        ] = strawberry.UNSET,
    ) -> Connection[Product]:
        loaders, request_id = info.context.loaders, self.snapshot.id
        filter = ProductFilter(parse_search(name_contains), unset_to_none(status))
        page = await loaders.products.load(ProductPageKey(request_id, window, filter))
        count = partial(loaders.product_counts.load, ProductCountKey(request_id, filter))
        return Connection.from_page(CursorKind.PRODUCTS_OF_REQUEST, window, page, Product.from_row, count)

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> Request:
        return cls(
            id=strawberry.ID(encode_global_id(IdPrefix.REQUEST, snapshot.id)),
            snapshot=snapshot,
            estimated_completion_at=snapshot.estimated_completion_at,
            progress_percent=snapshot.progress_percent,
            **{name: getattr(snapshot, name) for name in _SNAPSHOT_FIELDS},
        )


#: Fields with the same name and value as in the snapshot.
_SNAPSHOT_FIELDS = {field.name for field in fields(Request) if field.init} & set(FIELDS) - {"id"}
