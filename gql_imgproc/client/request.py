"""What the client returns, with the names and meanings of the GraphQL schema."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

from gql_imgproc.enums import CsvProfile, Priority, RequestStatus

#: Selection of the fields of `Request`.
REQUEST_FIELDS = """
id csvFilename profile status priority sequence createdAt completedAt
skippedRows totalProducts processedProducts failedProducts
totalImages processedImages failedImages cancelledImages keptImages reusedImages progressPercent
inputBytes outputBytes notDownloadedBytes imagesPerSecond outputCsvUrl reportCsvUrl archiveUrl failure { code message }
"""
#: Selection of the fields of `RequestChanges`.
CHANGES_FIELDS = "sinceId sinceCreatedAt productCounts { changed added gone unchanged }"
_CONFIG = ConfigDict(alias_generator=to_camel, validate_by_name=True)


@dataclass(frozen=True, slots=True)
class CsvIssue:
    """One problem in a CSV file; without `row` or `column` it concerns the whole file or row."""

    row: int | None
    column: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RequestFailure:
    """Why a whole request failed."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, config=_CONFIG)
class ChangeCounts:
    """Numbers of products by how they differ from those of an earlier request."""

    changed: int
    added: int
    gone: int
    unchanged: int


@dataclass(frozen=True, slots=True, config=_CONFIG)
class Changes:
    """How a request differs from the last finished one before it with the same file name."""

    since_id: str
    since_created_at: datetime
    product_counts: ChangeCounts


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class Request:
    """The state of a request when it was read; a state with a greater `sequence` replaces it."""

    id: str
    csv_filename: str
    profile: CsvProfile
    status: RequestStatus
    priority: Priority
    sequence: int
    created_at: datetime
    completed_at: datetime | None
    skipped_rows: int
    total_products: int
    processed_products: int
    failed_products: int
    total_images: int
    processed_images: int
    failed_images: int
    cancelled_images: int
    kept_images: int
    reused_images: int
    progress_percent: float
    input_bytes: int
    output_bytes: int
    not_downloaded_bytes: int
    images_per_second: float | None
    output_csv_url: str | None
    report_csv_url: str | None
    archive_url: str | None
    failure: RequestFailure | None
    #: About the CSV file; only an upload returns them.
    warnings: tuple[CsvIssue, ...] = ()
    #: Only `compare` returns them.
    changes: Changes | None = None

    @property
    def finished_images(self) -> int:
        """Number of images that are completed, failed or cancelled."""
        return self.processed_images + self.failed_images + self.cancelled_images


@dataclass(frozen=True, slots=True, config=_CONFIG)
class ExpectedFailure:
    """Images of a file that are expected to fail for the same reason, and one of them."""

    code: str
    images: int
    message: str
    example_url: str


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class Estimate:
    """What an upload would save; the percentages are None if each image of the sample fails."""

    total_products: int
    total_images: int
    measured_images: int
    input_bytes: int | None
    saved_percent: float | None
    saved_percent_low: float | None
    saved_percent_high: float | None
    seconds: float
    failures: tuple[ExpectedFailure, ...]


#: Selection of the fields of `CsvEstimate`.
ESTIMATE_FIELDS = """
totalProducts totalImages measuredImages inputBytes savedPercent savedPercentLow savedPercentHigh seconds
failures { code images message exampleUrl }
"""
#: They raise ValueError for anything else than what the schema promises.
parse_estimate = TypeAdapter(Estimate).validate_python
parse_changes = TypeAdapter(Changes | None).validate_python
parse_request = TypeAdapter(Request).validate_python
parse_issues = TypeAdapter(tuple[CsvIssue, ...]).validate_python
