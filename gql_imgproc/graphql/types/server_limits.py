"""The limits in force, and the rate limit of the caller."""

from __future__ import annotations

from datetime import UTC, datetime

import strawberry

from gql_imgproc.graphql import documents, query_limits
from gql_imgproc.graphql.types.connection import MAX_PAGE_SIZE
from gql_imgproc.graphql.types.scalars import ByteCount
from gql_imgproc.graphql.types.view import view
from gql_imgproc.messaging.rate_limiter import RateLimitStatus
from gql_imgproc.settings import Settings


@strawberry.type(
    description="The caller's rate limit for operations, or that of all API keys of its tenant if "
    "that has fewer left; reading it counts as an operation."
)
class RateLimit:
    limit: int = strawberry.field(description="Operations allowed per period.")
    remaining: int = strawberry.field(description="Operations left in the current period.")
    reset_at: datetime = strawberry.field(description="When the oldest counted operation no longer counts.")

    @classmethod
    def from_status(cls, status: RateLimitStatus) -> RateLimit:
        return view(cls, status, reset_at=datetime.fromtimestamp(status.resets_at, UTC))


@strawberry.type(description="Limits in force, so that clients can check before they send.")
class ServerLimits:
    max_upload_bytes: ByteCount = strawberry.field(description="Size of the largest CSV file that is accepted.")
    max_products: int = strawberry.field(description="Largest number of data rows in a file.")
    max_images: int = strawberry.field(description="Largest number of images in a file.")
    max_page_size: int = strawberry.field(description="Largest page of a connection.")
    max_query_cost: int = strawberry.field(description="Largest cost of one operation.")
    max_depth: int = strawberry.field(description="Largest depth of nested fields in one operation.")
    max_aliases: int = strawberry.field(description="Most aliases in one operation, with fragments expanded.")
    max_directives: int = strawberry.field(description="Most directives in one operation, with fragments expanded.")
    max_repeats: int = strawberry.field(description="Most uses of one field name or alias in a document.")
    max_tokens: int = strawberry.field(description="Most tokens in a document: names, values and punctuation.")
    max_document_chars: int = strawberry.field(description="Most characters in a document.")

    @classmethod
    def from_settings(cls, settings: Settings) -> ServerLimits:
        return view(
            cls,
            settings,
            max_page_size=MAX_PAGE_SIZE,
            max_depth=query_limits.MAX_DEPTH,
            max_aliases=query_limits.MAX_ALIASES,
            max_directives=query_limits.MAX_DIRECTIVES,
            max_repeats=query_limits.MAX_REPEATS,
            max_tokens=documents.MAX_TOKENS,
            max_document_chars=documents.MAX_DOCUMENT_CHARS,
        )
