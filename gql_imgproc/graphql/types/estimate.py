"""What an upload would save, before it is sent."""

from __future__ import annotations

from typing import Annotated

import strawberry

from gql_imgproc import errors
from gql_imgproc.graphql.types.payloads import CsvInvalid, UploadTooLarge, UserError, outcome_of
from gql_imgproc.graphql.types.scalars import URL, ByteCount
from gql_imgproc.graphql.types.view import view
from gql_imgproc.processing.estimate import Estimate


@strawberry.type(description="Images that are expected to fail for the same reason.")
class ExpectedFailure:
    code: str = strawberry.field(description="The `ImageErrorCode`, for instance HTTP_STATUS for a dead link.")
    images: int = strawberry.field(description="Expected number of images.")
    message: str = strawberry.field(description="Message of one image of the sample.")
    example_url: URL = strawberry.field(description="URL of that image.")


@strawberry.type(description="What an upload would save, from a sample of its images.")
class CsvEstimate:
    total_products: int = strawberry.field(description="Number of products of the file.")
    total_images: int = strawberry.field(description="Number of images of the file.")
    sampled_images: int = strawberry.field(description="Number of images of the sample; a small file is sampled whole.")
    measured_images: int = strawberry.field(description="Images of the sample that were measured in time.")
    input_bytes: ByteCount | None = strawberry.field(
        description="Expected bytes of the source images; null if each image of the sample fails."
    )
    saved_percent: float | None = strawberry.field(description="Expected part of these bytes that is saved.")
    saved_percent_low: float | None = strawberry.field(description="Lower bound of its 95 % confidence interval.")
    saved_percent_high: float | None = strawberry.field(description="Upper bound of its 95 % confidence interval.")
    seconds: float = strawberry.field(
        description="Expected time of the upload, with the workers of now and nothing else to do."
    )
    failures: list[ExpectedFailure] = strawberry.field(description="Images that are expected to fail, by error code.")

    @classmethod
    def from_estimate(cls, found: Estimate) -> CsvEstimate:
        saving = found.saving
        parts = (None, None, None) if saving is None else (saving.part, saving.low, saving.high)
        percent = [None if part is None else round(100 * part, 1) for part in parts]
        return view(
            cls,
            found,
            total_products=found.summary.products,
            total_images=found.summary.images,
            input_bytes=None if saving is None else ByteCount(round(saving.input_bytes)),
            saved_percent=percent[0],
            saved_percent_low=percent[1],
            saved_percent_high=percent[2],
            seconds=round(found.seconds, 1),
            failures=[view(ExpectedFailure, each) for each in found.failures],
        )


@strawberry.type(description="No worker has measured the sample in time.")
class EstimateUnavailable(UserError):
    error = errors.EstimateUnavailable


EstimateCsvResult = Annotated[
    CsvEstimate | CsvInvalid | UploadTooLarge | EstimateUnavailable, outcome_of("estimateCsv")
]
