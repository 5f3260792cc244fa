"""Requests, products and images as GraphQL shows them: thin views of snapshots and rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Annotated, Any

import strawberry
from sqlalchemy import Row

from gql_imgproc.core import locations
from gql_imgproc.core.options import Options
from gql_imgproc.core.progress import FIELDS, Snapshot
from gql_imgproc.db.queries import Page, Window
from gql_imgproc.errors import CsvIssueCode, ImageErrorCode
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.fields import IMAGES_COST, computed
from gql_imgproc.graphql.loaders import CountOf, ProductsOf, Wanted
from gql_imgproc.graphql.options import ProcessingOptions
from gql_imgproc.graphql.paging import After, Before, First, Last, Listing, PageInfo, counted, cursor, given, window
from gql_imgproc.graphql.scalars import URL, ByteCount
from gql_imgproc.graphql.search import NameContains, searched
from gql_imgproc.graphql.webhook import WebhookDelivery
from gql_imgproc.identifiers import Kind, to_global
from gql_imgproc.states import (
    ImageOutcome,
    ImageStatus,
    Priority,
    ProductStatus,
    RequestFailureCode,
    RequestStatus,
)

_FAILURES = {
    RequestFailureCode.CSV_UNREADABLE: "The stored CSV file could not be read again. Upload it once more.",
    RequestFailureCode.ALL_IMAGES_FAILED: "No image could be handled; each tells why in `error`.",
    RequestFailureCode.DEADLINE: "The deadline of the request passed before all its images were done.",
    RequestFailureCode.INTERNAL: "The service could not finish the request. Retry its failed images later.",
}


@strawberry.interface(description="Anything that can be fetched again by its global identifier.")
class Node:
    id: strawberry.ID = strawberry.field(description="Opaque, globally unique identifier.")


@strawberry.type(description="One thing that is wrong in a CSV file.")
class CsvIssue:
    row: int | None = strawberry.field(
        description="Row as a spreadsheet counts it, the header being row 1; null when the file as a whole is meant."
    )
    column: str | None = strawberry.field(
        description="Name of the column as in the header; null when no single column is meant."
    )
    code: CsvIssueCode = strawberry.field(description="Machine readable reason.")
    message: str = strawberry.field(description="A sentence for people, in English.")

    @classmethod
    def stored(cls, warning: dict[str, Any]) -> CsvIssue:
        return cls(
            row=warning.get("row"),
            column=warning.get("column"),
            code=CsvIssueCode(warning["code"]),
            message=warning["message"],
        )


@strawberry.type(description="Why an image failed.")
class ImageError:
    code: ImageErrorCode = strawberry.field(description="Machine readable reason.")
    message: str = strawberry.field(description="A sentence for people.")
    http_status: int | None = strawberry.field(description="HTTP status of the answer when the code is HTTP_STATUS.")


@strawberry.type(description="One image of a product.")
class Image(Node):
    input_url: URL = strawberry.field(description="Where the source image is fetched from.")
    output_url: URL | None = strawberry.field(description="Where the stored image is; null until it is completed.")
    status: ImageStatus = strawberry.field(description="Where the image stands.")
    outcome: ImageOutcome | None = strawberry.field(description="How the image was stored; null until it is completed.")
    attempts: int = strawberry.field(description="Number of attempts made.")
    error: ImageError | None = strawberry.field(description="Why the image failed; null when it did not.")
    input_bytes: ByteCount | None = strawberry.field(description="Bytes fetched.")
    output_bytes: ByteCount | None = strawberry.field(description="Bytes stored.")
    format: str | None = strawberry.field(description="Media type of the stored image, for instance image/jpeg.")
    width: int | None = strawberry.field(description="Width of the stored image in pixels.")
    height: int | None = strawberry.field(description="Height of the stored image in pixels.")

    @classmethod
    def of(cls, row: Row[Any], input_urls: list[str], address: Callable[[str], str]) -> Image:
        """From its row, the sources of its product, and what turns a path into an address."""
        failed = row.status is ImageStatus.FAILED and row.error_code is not None
        return cls(
            id=strawberry.ID(to_global(Kind.IMAGE, row.id)),
            input_url=URL(input_urls[row.position]),
            output_url=_output_url(row, address),
            status=row.status,
            outcome=row.outcome,
            attempts=row.attempts,
            error=ImageError(code=row.error_code, message=row.error_message or "", http_status=row.error_http_status)
            if failed
            else None,
            input_bytes=row.input_bytes,
            output_bytes=row.output_bytes,
            format=row.format,
            width=row.width,
            height=row.height,
        )


def _output_url(row: Row[Any], address: Callable[[str], str]) -> URL | None:
    if row.status is not ImageStatus.COMPLETED or row.object_name is None:
        return None
    return URL(address(locations.image_path(row.request_id, row.object_name)))


@strawberry.type(description="One data row of the CSV file.")
class Product(Node):
    row: strawberry.Private[Row[Any]]
    request_id: strawberry.ID = strawberry.field(description="Identifier of the request that the product belongs to.")
    serial_number: str = strawberry.field(description="Serial number as in the file.")
    product_name: str = strawberry.field(description="Product name as in the file.")
    status: ProductStatus = strawberry.field(description="Where the product stands.")
    input_image_urls: list[URL] = strawberry.field(
        description="URLs of the source images in the order of the row, at most 100."
    )
    created_at: datetime = strawberry.field(description="When the product was recorded.")
    updated_at: datetime = strawberry.field(description="When the product or one of its images last changed.")

    @computed("URLs of the images that are done, in the order of the row; `images` pairs them with their sources.")
    async def output_image_urls(self, info: Info) -> list[URL]:
        if self.row.output_image_urls is not None:
            return [URL(info.context.address(path)) for path in self.row.output_image_urls if path]
        # Recorded with the last image; until then the images tell.
        rows = await info.context.loaders.images.load(self.row.id)
        urls = (_output_url(row, info.context.address) for row in rows)
        return [url for url in urls if url]

    @computed("The images in the order of the row, at most 100.", cost=IMAGES_COST)
    async def images(self, info: Info) -> list[Image]:
        rows = await info.context.loaders.images.load(self.row.id)
        return [Image.of(row, self.row.input_image_urls, info.context.address) for row in rows]

    @classmethod
    def of(cls, row: Row[Any]) -> Product:
        return cls(
            id=strawberry.ID(to_global(Kind.PRODUCT, row.id)),
            row=row,
            request_id=strawberry.ID(to_global(Kind.REQUEST, row.request_id)),
            serial_number=row.serial_number,
            product_name=row.product_name,
            status=row.status,
            input_image_urls=row.input_image_urls,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


@strawberry.type(description="One product in a page.")
class ProductEdge:
    cursor: str = strawberry.field(description="Opaque position of this product.")
    node: Product = strawberry.field(description="The product.")


@strawberry.type(description="A page of products.")
class ProductConnection:
    count: strawberry.Private[Callable[[], Awaitable[int]]]
    edges: list[ProductEdge] = strawberry.field(description="The edges of this page.")
    page_info: PageInfo = strawberry.field(description="About this page.")

    @computed("Number of matching products on all pages.")
    async def total_count(self) -> int:
        return await self.count()

    @classmethod
    def of(
        cls, listing: Listing, window: Window, page: Page[Row[Any]], count: Callable[[], Awaitable[int]]
    ) -> ProductConnection:
        return cls(
            count=counted(window, page, count),
            edges=[ProductEdge(cursor=cursor(listing, key), node=Product.of(row)) for key, row in page.rows],
            page_info=PageInfo.of(listing, window, page),
        )


@strawberry.type(description="Why a whole request failed.")
class RequestFailure:
    code: RequestFailureCode = strawberry.field(description="Machine readable reason.")
    message: str = strawberry.field(description="A sentence for people.")


@strawberry.type(description="One uploaded CSV file and the work it started.")
class Request(Node):
    snapshot: strawberry.Private[Snapshot]
    status: RequestStatus = strawberry.field(description="Where the request stands.")
    priority: Priority = strawberry.field(description="How urgent the request is.")
    sequence: int = strawberry.field(
        description="A number that grows with every change of the request; "
        "a client may drop an event whose number is not above the last one seen."
    )
    created_at: datetime = strawberry.field(description="When the request was accepted.")
    updated_at: datetime = strawberry.field(description="When anything in the request last changed.")
    started_at: datetime | None = strawberry.field(description="When the first worker took the request up.")
    completed_at: datetime | None = strawberry.field(description="When the request reached its final status.")
    estimated_completion_at: datetime | None = strawberry.field(
        description="When the work is expected to end; null when that is not known or the status is final."
    )
    csv_filename: str = strawberry.field(description="Name of the uploaded file without any path.")
    total_products: int = strawberry.field(description="Number of products in the file.")
    processed_products: int = strawberry.field(description="Number of products that are done without a failed image.")
    failed_products: int = strawberry.field(
        description="Number of products that are done with at least one failed image."
    )
    total_images: int = strawberry.field(description="Number of images in the file.")
    processed_images: int = strawberry.field(description="Number of images that are completed, the kept ones included.")
    failed_images: int = strawberry.field(description="Number of images that were given up.")
    cancelled_images: int = strawberry.field(
        description="Number of images that were not done because the request was cancelled."
    )
    kept_images: int = strawberry.field(
        description="Number of completed images whose original bytes were kept "
        "since compressing them would not have helped."
    )
    progress_percent: float = strawberry.field(
        description="Share of the images that are completed, failed or cancelled, from 0 to 100."
    )
    input_bytes: ByteCount = strawberry.field(description="Bytes of the images fetched so far.")
    output_bytes: ByteCount = strawberry.field(description="Bytes of the images stored so far.")

    @computed("Images that recently ended per second; null when that is not known or the status is final.")
    def images_per_second(self) -> float | None:
        return self.snapshot.rate

    @computed("Options the request was made with, defaults filled in.")
    def options(self) -> ProcessingOptions:
        return ProcessingOptions.of(Options.from_json(self.snapshot.options))

    @computed("What was noticed in the CSV file without being a reason to refuse it.")
    def warnings(self) -> list[CsvIssue]:
        return [CsvIssue.stored(warning) for warning in self.snapshot.warnings]

    @computed("Where the output CSV can be downloaded; null while the status is not final or when there is none.")
    def output_csv_url(self, info: Info) -> URL | None:
        if not (self.snapshot.status.final and self.snapshot.has_output):
            return None
        return URL(info.context.address(locations.download_path(self.snapshot.id)))

    @computed("When `outputCsvUrl` stops working; null when it does not expire.")
    def output_csv_expires_at(self, info: Info) -> datetime | None:
        days, ended_at = info.context.resources.settings.retention_days, self.snapshot.completed_at
        return ended_at + timedelta(days=days) if days and ended_at and self.snapshot.has_output else None

    @computed("Why the request as a whole failed.")
    def failure(self) -> RequestFailure | None:
        code = self.snapshot.failure_code
        return None if code is None else RequestFailure(code=code, message=_FAILURES[code])

    @computed("Delivery of the completion webhook; null when none was asked for.")
    async def webhook(self, info: Info) -> WebhookDelivery | None:
        if self.snapshot.webhook_url is None:
            return None
        row = await info.context.loaders.deliveries.load((self.snapshot.id, self.snapshot.generation))
        return WebhookDelivery.of(self.snapshot.webhook_url, row)

    @computed("Products of the request in the order of the file.", cost=2)
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
        listing, loaders, request_id = Listing.PRODUCTS_OF_REQUEST, info.context.loaders, self.snapshot.id
        asked, wanted = window(listing, first, after, last, before), Wanted(searched(name_contains), given(status))
        page = await loaders.products.load(ProductsOf(request_id, asked, wanted))
        return ProductConnection.of(
            listing, asked, page, lambda: loaders.product_counts.load(CountOf(request_id, wanted))
        )

    @classmethod
    def of(cls, snapshot: Snapshot) -> Request:
        return cls(
            id=strawberry.ID(to_global(Kind.REQUEST, snapshot.id)),
            snapshot=snapshot,
            estimated_completion_at=snapshot.estimated_completion_at,
            progress_percent=snapshot.progress_percent,
            **{name: getattr(snapshot, name) for name in _SHARED},
        )


#: What a request shows just as its snapshot has it.
_SHARED = {field.name for field in fields(Request) if field.init} & set(FIELDS) - {"id"}


@strawberry.type(description="One request in a page.")
class RequestEdge:
    cursor: str = strawberry.field(description="Opaque position of this request.")
    node: Request = strawberry.field(description="The request.")


@strawberry.type(description="A page of requests.")
class RequestConnection:
    count: strawberry.Private[Callable[[], Awaitable[int]]]
    edges: list[RequestEdge] = strawberry.field(description="The edges of this page.")
    page_info: PageInfo = strawberry.field(description="About this page.")

    @computed("Number of matching requests on all pages.")
    async def total_count(self) -> int:
        return await self.count()

    @classmethod
    def of(cls, window: Window, page: Page[Snapshot], count: Callable[[], Awaitable[int]]) -> RequestConnection:
        return cls(
            count=counted(window, page, count),
            edges=[
                RequestEdge(cursor=cursor(Listing.REQUESTS, key), node=Request.of(snapshot))
                for key, snapshot in page.rows
            ],
            page_info=PageInfo.of(Listing.REQUESTS, window, page),
        )
