"""Requests: thin views of snapshots."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated
from uuid import UUID

import strawberry

from gql_imgproc.database.pagination import Page, PageWindow
from gql_imgproc.enums import (
    CsvProfile,
    ImageOutcome,
    ImageStatus,
    Priority,
    RequestFailureCode,
    RequestStatus,
)
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.types.changes import RequestChanges
from gql_imgproc.graphql.types.connection import Connection, CursorKind, paginated, unset_to_none
from gql_imgproc.graphql.types.csv_issue import CsvIssue
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.image import Image
from gql_imgproc.graphql.types.node import Node
from gql_imgproc.graphql.types.options import ProcessingOptions
from gql_imgproc.graphql.types.product import NameContains, Product, StatusArgument, parse_search
from gql_imgproc.graphql.types.scalars import URL, ByteCount
from gql_imgproc.graphql.types.statistics import RequestStatistics
from gql_imgproc.graphql.types.view import view
from gql_imgproc.graphql.types.webhook import WebhookDelivery
from gql_imgproc.ids import IdPrefix, encode_global_id, parse_global_id
from gql_imgproc.imaging.options import Options
from gql_imgproc.requests.repository import changes, image_queries
from gql_imgproc.requests.repository.image_queries import ImageSelection
from gql_imgproc.requests.repository.product_queries import ProductFilter
from gql_imgproc.requests.snapshot import Snapshot
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
    skipped_rows: int = strawberry.field(
        description="Number of invalid rows, which were left as they are; `warnings` lists the first ones."
    )
    total_products: int = strawberry.field(
        description="Number of products in the file that have an image. A product of a shop may have several rows."
    )
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
    reused_images: int = strawberry.field(
        description="Number of completed images whose bytes had been processed with the same options before."
    )
    progress_percent: float = strawberry.field(
        description="Share of the images that are completed, failed or cancelled, from 0 to 100."
    )
    input_bytes: ByteCount = strawberry.field(description="Bytes of the source images so far.")
    output_bytes: ByteCount = strawberry.field(description="Bytes of their results so far.")
    not_downloaded_bytes: ByteCount = strawberry.field(
        description="Of `inputBytes`, bytes that their hosts said are unchanged, and so were not downloaded."
    )

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

    @cost_field("How the file is read and written: our own format, or that of a shop.")
    def profile(self) -> CsvProfile:
        return self.snapshot.profile or CsvProfile.GENERIC

    @cost_field("URL of the output CSV; null while the status is not final or when there is none.")
    def output_csv_url(self, info: Info) -> URL | None:
        return self._file_url(info, paths.download_path, exists=self.snapshot.has_output)

    @cost_field("URL of the output CSV so far, without the images that are not done; null once the status is final.")
    def partial_csv_url(self, info: Info) -> URL | None:
        if self.snapshot.status.is_terminal:
            return None
        url = info.context.signed_url(paths.download_path(self.snapshot.id))
        return URL(f"{url}{'&' if '?' in url else '?'}partial=true")

    @cost_field("URL of the report, a CSV file with the outcome of each image; null when `outputCsvUrl` is.")
    def report_csv_url(self, info: Info) -> URL | None:
        return self._file_url(info, paths.report_path, exists=self.snapshot.has_report)

    @cost_field("URL of a ZIP archive of all stored images and the output CSV; null when `outputCsvUrl` is.")
    def archive_url(self, info: Info) -> URL | None:
        return self._file_url(info, paths.archive_path, exists=self.snapshot.has_output)

    def _file_url(self, info: Info, to_path: Callable[[UUID], str], *, exists: bool) -> URL | None:
        if not (self.snapshot.status.is_terminal and exists):
            return None
        return URL(info.context.signed_url(to_path(self.snapshot.id)))

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

    @cost_field("Images of the request by format, error and host, at the same cost for any number of images.", cost=10)
    async def statistics(self, info: Info) -> RequestStatistics:
        row = await info.context.loaders.statistics.load(self.snapshot.id)
        info.context.budget.charge(len(row.by_format) + len(row.by_error) + len(row.by_host))
        return RequestStatistics.from_row(row)

    @cost_field(
        "What changed since an earlier request. Null while the status is not final, since images may still change, and "
        "if the earlier request does not exist or is not final, or if an earlier version accepted one of the two."
    )
    async def changes(
        self,
        info: Info,
        since: Annotated[
            strawberry.ID | None,
            strawberry.argument(
                description="The earlier request. Without it, the last one before with the same file name that is "
                "COMPLETED or COMPLETED_WITH_ERRORS."
            ),
        ] = strawberry.UNSET,
    ) -> RequestChanges | None:
        named = unset_to_none(since)
        earlier_id = None if named is None else parse_global_id(named, IdPrefix.REQUEST)
        if named is not None and earlier_id is None:
            return None
        comparison = await info.context.read(changes.find_comparison, self.snapshot.id, earlier_id)
        return None if comparison is None else RequestChanges.from_comparison(info, comparison)

    @cost_field("Products of the request in the order of the file.", cost=2)
    @paginated(CursorKind.PRODUCTS_OF_REQUEST)
    async def products(
        self,
        info: Info,
        window: PageWindow,
        name_contains: NameContains = strawberry.UNSET,
        status: StatusArgument = strawberry.UNSET,
    ) -> Connection[Product]:
        loaders, request_id = info.context.loaders, self.snapshot.id
        filter = ProductFilter(parse_search(name_contains), unset_to_none(status))
        page = await loaders.products.load((request_id, window, filter))
        count = partial(loaders.product_counts.load, (request_id, filter))
        return Connection.from_page(CursorKind.PRODUCTS_OF_REQUEST, window, page, Product.from_row, count)

    @cost_field("Images of the request in the order of the file.", cost=5)
    @paginated(CursorKind.IMAGES_OF_REQUEST)
    async def images(
        self,
        info: Info,
        window: PageWindow,
        status: Annotated[
            ImageStatus | None, strawberry.argument(description="Only images with this status.")
        ] = strawberry.UNSET,
        outcome: Annotated[
            ImageOutcome | None, strawberry.argument(description="Only images that were stored like this.")
        ] = strawberry.UNSET,
        error_code: Annotated[
            ImageErrorCode | None, strawberry.argument(description="Only images that failed for this reason.")
        ] = strawberry.UNSET,
    ) -> Connection[Image]:
        read, request_id = info.context.read, self.snapshot.id
        filter = ImageSelection(unset_to_none(status), unset_to_none(outcome), unset_to_none(error_code))
        page = await read(image_queries.images_page, request_id, window, filter)
        count = partial(read, image_queries.count_images, request_id, filter)
        return _to_images(CursorKind.IMAGES_OF_REQUEST, info, window, page, count)

    @cost_field("Images of the request that have a `similarity`, the least similar ones first.", cost=5)
    @paginated(CursorKind.IMAGES_BY_SIMILARITY)
    async def images_by_similarity(self, info: Info, window: PageWindow) -> Connection[Image]:
        read, request_id = info.context.read, self.snapshot.id
        page = await read(image_queries.images_by_similarity, request_id, window)
        count = partial(read, image_queries.count_similarities, request_id)
        return _to_images(CursorKind.IMAGES_BY_SIMILARITY, info, window, page, count)

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> Request:
        id = strawberry.ID(encode_global_id(IdPrefix.REQUEST, snapshot.id))
        return view(cls, snapshot, id=id, snapshot=snapshot)


def _to_images(
    kind: CursorKind,
    info: Info,
    window: PageWindow,
    page: Page[image_queries.ImageOfRequest],
    count: Callable[[], Awaitable[int]],
) -> Connection[Image]:
    to_url = info.context.image_url
    return Connection.from_page(kind, window, page, lambda row: Image.from_row(*row, to_url), count)
