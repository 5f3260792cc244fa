"""Errors in an answer: which a caller may read, the code each carries, and the number that stands for the others."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError
from strawberry.types.execution import StreamExecutionResult

from gql_imgproc.errors import RateLimited

log = logging.getLogger(__name__)


class Code(StrEnum):
    """The `extensions.code` of an error."""

    #: The document is not GraphQL.
    PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    #: The document does not fit the schema, or is over a limit.
    VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    #: A value is out of its range or has the wrong form.
    BAD_USER_INPUT = "BAD_USER_INPUT"
    #: An API key is asked for, and there was none, or none that is good.
    UNAUTHENTICATED = "UNAUTHENTICATED"
    #: The API key is good, but not for this.
    FORBIDDEN = "FORBIDDEN"
    #: What a subscription was asked for does not exist.
    NOT_FOUND = "NOT_FOUND"
    #: The HTTP request is not as GraphQL over HTTP wants it.
    BAD_REQUEST = "BAD_REQUEST"
    #: The body is larger than the limit.
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    #: More operations at once on one socket than are allowed.
    TOO_MANY_OPERATIONS = "TOO_MANY_OPERATIONS"
    #: The caller does something more often than it may; `retryAfter` tells after how many seconds it may again.
    RATE_LIMITED = "RATE_LIMITED"
    #: A fault of the service; the message has the number under which it stands in the log.
    INTERNAL = "INTERNAL"


def bad_input(message: str, *field: str) -> GraphQLError:
    """`field`: way to the field at fault inside the argument `input`.

    It stands in the extensions, since the `path` of an error is by the specification the way to what the answer lacks.
    """
    where = {"inputPath": ["input", *field]} if field else {}
    return GraphQLError(message, extensions={"code": Code.BAD_USER_INPUT.value, **where})


def not_found(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": Code.NOT_FOUND.value})


def forbidden(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": Code.FORBIDDEN.value})


def rate_limited(refused: RateLimited) -> GraphQLError:
    return GraphQLError(str(refused), extensions={"code": Code.RATE_LIMITED.value, **error_extensions(refused)})


def error_extensions(refused: RateLimited) -> dict[str, object]:
    """What the error tells beside its code."""
    return {"retryAfter": refused.retry_after_s}


#: Why something that was open ends.
KEY_EXPIRED = "The API key is not good any more, or one is asked for now."


def key_expired() -> GraphQLError:
    return GraphQLError(KEY_EXPIRED, extensions={"code": Code.UNAUTHENTICATED.value})


NO_DOCUMENT = "`query` must be the text of a GraphQL document."


def no_such_operation(error: CannotGetOperationTypeError) -> str:
    name = error.operation_name
    if name is None:
        return "The document has no operation. Give it one, for instance a query."
    return f"The document has no operation named {name[:100]!r}. Mend `operationName`, or leave it out."


def mask_error(error: GraphQLError) -> GraphQLError:
    """The error as a caller may see it; one of our own making is logged and replaced."""
    cause = error.original_error
    if isinstance(cause, RecursionError):
        return GraphQLError("The document is nested too deeply.", extensions={"code": Code.PARSE_FAILED.value})
    # Over HTTP these are refused by the status; in a stream, which has none, they are an error like others.
    if isinstance(cause, CannotGetOperationTypeError | MissingQueryError):
        message = no_such_operation(cause) if isinstance(cause, CannotGetOperationTypeError) else NO_DOCUMENT
        return GraphQLError(message, extensions={"code": Code.VALIDATION_FAILED.value})
    # A literal that Python cannot read, for instance a number of 5,000 digits, is found before anything runs.
    about_input = isinstance(cause, ValueError) and error.path is None and error.nodes
    if cause is None or isinstance(cause, GraphQLError) or about_input:
        error.extensions = {"code": _code(error).value, **(error.extensions or {})}
        return error
    error_id = secrets.token_hex(6)
    log.error("unexpected error", extra={"error_id": error_id, "path": error.path}, exc_info=cause)
    return GraphQLError(
        f"Something went wrong on our side. Give this number to whoever runs the service: {error_id}",
        nodes=error.nodes,
        path=error.path,
        extensions={"code": Code.INTERNAL.value},
    )


def _code(error: GraphQLError) -> Code:
    return Code.PARSE_FAILED if isinstance(error, GraphQLSyntaxError) else Code.BAD_USER_INPUT


class ErrorMaskingExtension(SchemaExtension):
    """Lets no exception's text reach a caller, whatever the transport."""

    def on_operation(self) -> Iterator[None]:
        yield
        _present(self.execution_context.result)

    def on_validate(self) -> Iterator[None]:
        yield
        # Later nothing tells them from those of the variables' values, which have no path either.
        for error in self.execution_context.pre_execution_errors or ():
            error.extensions = {"code": Code.VALIDATION_FAILED.value, **(error.extensions or {})}

    def on_stream_result(self, result: StreamExecutionResult) -> Iterator[None]:
        _present(result)
        yield


def _present(result: Any) -> None:
    if result is not None and result.errors:
        result.errors = [mask_error(error) for error in result.errors]
