"""Statistics of the images of a request."""

from __future__ import annotations

from datetime import datetime

import strawberry

from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.graphql.types.scalars import ByteCount
from gql_imgproc.graphql.types.view import view
from gql_imgproc.requests.repository import image_statistics


@strawberry.type(description="Completed images of one media type.")
class FormatStatistics:
    format: str = strawberry.field(description="Media type of the stored images, for instance image/jpeg.")
    images: int = strawberry.field(description="Number of completed images.")
    bytes_before: ByteCount = strawberry.field(description="Bytes of the source images.")
    bytes_after: ByteCount = strawberry.field(description="Bytes of the stored images.")


@strawberry.type(description="Failed images with one cause.")
class ErrorStatistics:
    code: ImageErrorCode = strawberry.field(description="Why the images failed.")
    images: int = strawberry.field(description="Number of failed images.")


@strawberry.type(description="Images of one host.")
class HostStatistics:
    host: str = strawberry.field(description="Name and port of the host.")
    images: int = strawberry.field(description="Number of images, as far as the file is read.")
    completed: int = strawberry.field(description="Number of completed images.")
    failed: int = strawberry.field(description="Number of failed images.")
    throttled: int = strawberry.field(description="How often the host asked the service to slow down.")
    next_due_at: datetime | None = strawberry.field(
        description="When an image of the host is processed again, if none can be now: a retry is due, the host is "
        "paused, or a worker that has claimed its images may have failed."
    )


@strawberry.type(
    description="Images of a request by format, error and host; always exact. "
    "Of a request that an earlier version accepted, earlier images are missing."
)
class RequestStatistics:
    by_format: list[FormatStatistics] = strawberry.field(description="Completed images, most frequent format first.")
    by_error: list[ErrorStatistics] = strawberry.field(description="Failed images, most frequent error first.")
    by_host: list[HostStatistics] = strawberry.field(
        description="The first 100 hosts: those with the most failed images, then those with the most images."
    )

    @classmethod
    def from_row(cls, row: image_statistics.RequestStatistics) -> RequestStatistics:
        return cls(
            by_format=[view(FormatStatistics, each) for each in row.by_format],
            by_error=[ErrorStatistics(code=code, images=images) for code, images in row.by_error.items()],
            by_host=[view(HostStatistics, each) for each in row.by_host],
        )
