"""The scalars of the schema: how each is written in an answer and read from an input."""

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


def _write_moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parse_datetime(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise GraphQLError("A DateTime is a text in RFC 3339 form with a zone, for instance 2030-01-31T12:00:00Z.")
    return moment


def _read_url(value: Any) -> str:
    # Whether it is an address that may be called is for the service to say, as a typed result.
    if not isinstance(value, str):
        raise GraphQLError("A URL is a text, for instance https://shop.example/hook.")
    return value


def _read_count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise GraphQLError("A ByteCount is a whole number from 0 to 2^53 - 1.")
    return value


def _read_upload(value: Any) -> UploadFile:
    if not isinstance(value, UploadFile):
        raise GraphQLError(
            "An Upload is a file part of a multipart request that `map` puts into a variable; "
            "see the GraphQL multipart request specification."
        )
    return value


def _no_upload_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> UploadFile:
    raise GraphQLError("An Upload can only be given as a variable, never in the document.", node)


def _text_literal(read: Any) -> GraphQLScalarLiteralParser:
    def parse(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
        return read(node.value if isinstance(node, StringValueNode) else None)

    return parse


#: What Python types are in the schema; given to Strawberry as `scalar_map`.
SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="A moment in RFC 3339 form, always with a zone; the server sends UTC.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
        serialize=_write_moment,
        parse_value=_parse_datetime,
        parse_literal=_text_literal(_parse_datetime),
    ),
    URL: strawberry.scalar(
        name="URL",
        description="An absolute http or https URL.",
        specified_by_url="https://url.spec.whatwg.org/#url-writing",
        serialize=str,
        parse_value=_read_url,
        parse_literal=_text_literal(_read_url),
    ),
    ByteCount: strawberry.scalar(
        name="ByteCount",
        description="A whole number of bytes up to 2^53 - 1, sent as a JSON number.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259#section-6",
        serialize=int,
        parse_value=_read_count,
    ),
    Upload: strawberry.scalar(
        name="Upload",
        description="A file sent by the GraphQL multipart request specification. Only valid as a variable.",
        specified_by_url="https://github.com/jaydenseric/graphql-multipart-request-spec",
        parse_value=_read_upload,
        parse_literal=_no_upload_literal,
    ),
}
