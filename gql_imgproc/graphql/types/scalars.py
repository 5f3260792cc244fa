"""Scalars: how each is serialized and parsed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NewType

import strawberry
from graphql import GraphQLError, GraphQLScalarLiteralParser, StringValueNode, ValueNode
from starlette.datastructures import UploadFile
from strawberry.types.scalar import ScalarDefinition

URL = NewType("URL", str)
ByteCount = NewType("ByteCount", int)
Upload = NewType("Upload", UploadFile)


def _format_datetime(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parse_datetime(value: Any) -> datetime:
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise GraphQLError("A DateTime must be an RFC 3339 string with a time zone, for instance 2030-01-31T12:00:00Z.")
    return parsed


def _parse_url(value: Any) -> str:
    # The service checks the URL and returns a typed error.
    if not isinstance(value, str):
        raise GraphQLError("A URL must be a string, for instance https://shop.example/hook.")
    return value


def _parse_count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise GraphQLError("A ByteCount must be an integer from 0 to 2^53 - 1.")
    return value


def _parse_upload(value: Any) -> UploadFile:
    if not isinstance(value, UploadFile):
        raise GraphQLError(
            "An Upload must be a file part of a multipart request, put into a variable by `map`. "
            "See the GraphQL multipart request specification."
        )
    return value


def _reject_upload_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> UploadFile:
    raise GraphQLError("An Upload must be a variable; it cannot be a literal in the document.", node)


def _string_literal(parse_value: Any) -> GraphQLScalarLiteralParser:
    def parse(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
        return parse_value(node.value if isinstance(node, StringValueNode) else None)

    return parse


#: Python types and their scalars, for `scalar_map` of Strawberry.
SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="A date and time in RFC 3339 form, always with a time zone; the server sends UTC.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
        serialize=_format_datetime,
        parse_value=_parse_datetime,
        parse_literal=_string_literal(_parse_datetime),
    ),
    URL: strawberry.scalar(
        name="URL",
        description="An absolute http or https URL.",
        specified_by_url="https://url.spec.whatwg.org/#url-writing",
        serialize=str,
        parse_value=_parse_url,
        parse_literal=_string_literal(_parse_url),
    ),
    ByteCount: strawberry.scalar(
        name="ByteCount",
        description="A whole number of bytes up to 2^53 - 1, sent as a JSON number.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259#section-6",
        serialize=int,
        parse_value=_parse_count,
    ),
    Upload: strawberry.scalar(
        name="Upload",
        description="A file sent by the GraphQL multipart request specification. Only valid as a variable.",
        specified_by_url="https://github.com/jaydenseric/graphql-multipart-request-spec",
        parse_value=_parse_upload,
        parse_literal=_reject_upload_literal,
    ),
}
