"""GraphQL errors: their codes and messages. Internal errors are logged, and masked by an error ID."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from graphql import GraphQLError, GraphQLSyntaxError

from gql_imgproc.errors import UNAVAILABLE_RETRY_AFTER_S, unavailable_message

log = logging.getLogger(__name__)


class Code(StrEnum):
    #: The document is not GraphQL.
    PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    #: The document does not match the schema, or exceeds a limit.
    VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    #: A value is out of range or malformed.
    BAD_USER_INPUT = "BAD_USER_INPUT"
    #: No API key was sent, or it is invalid, expired or revoked.
    UNAUTHENTICATED = "UNAUTHENTICATED"
    #: The API key lacks the required scope.
    FORBIDDEN = "FORBIDDEN"
    #: The document of this hash is not stored; the client must send it too.
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    #: The server only executes documents that its operator trusts.
    UNTRUSTED_DOCUMENT = "UNTRUSTED_DOCUMENT"
    #: The request of a subscription does not exist.
    NOT_FOUND = "NOT_FOUND"
    #: The HTTP request does not follow GraphQL over HTTP.
    BAD_REQUEST = "BAD_REQUEST"
    #: The body exceeds the size limit.
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    #: Too many operations at once on one WebSocket.
    TOO_MANY_OPERATIONS = "TOO_MANY_OPERATIONS"
    #: The caller exceeded a rate limit; `retryAfter` is the number of seconds to wait.
    RATE_LIMITED = "RATE_LIMITED"
    #: The database or the object store is unavailable; `retryAfter` is the number of seconds to wait.
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    #: Internal error; the message has the error ID under which it is logged.
    INTERNAL = "INTERNAL"


def coded_error(code: Code, message: str, **extensions: object) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code.value, **extensions})


def bad_input(message: str, *field: str) -> GraphQLError:
    """`field`: path of the invalid field inside the argument `input`.

    It goes into the extensions: by the specification the `path` of an error is a path in the response.
    """
    return coded_error(Code.BAD_USER_INPUT, message, **({"inputPath": ["input", *field]} if field else {}))


def validation_failed(message: str) -> GraphQLError:
    return coded_error(Code.VALIDATION_FAILED, message)


def retry_after_unavailable(errors: Sequence[Any]) -> int | None:
    """Seconds after which a caller may retry because a service is unavailable; None when no error says so."""
    codes = [(error.get("extensions") or {}).get("code") for error in errors]
    return UNAVAILABLE_RETRY_AFTER_S if Code.SERVICE_UNAVAILABLE.value in codes else None


#: Why an open session is closed.
KEY_EXPIRED = "The API key has expired or was revoked, or this server now requires one."


NO_DOCUMENT = "`query` must be the text of a GraphQL document."


def mask_error(error: GraphQLError) -> GraphQLError:
    """The error as the caller may see it.

    An error of an unavailable service says when to retry. An internal error is logged, and gets an error ID.
    """
    cause = error.original_error
    # A literal that Python cannot parse, for instance a number of 5,000 digits, fails before execution.
    is_input_error = isinstance(cause, ValueError) and error.path is None and error.nodes
    if cause is None or isinstance(cause, GraphQLError) or is_input_error:
        error.extensions = {"code": _code(error).value, **(error.extensions or {})}
        return error
    if unavailable := unavailable_message(cause):
        log.warning("operation failed: %s", unavailable, extra={"path": error.path, "reason": str(cause)})
        return _copy(
            error, unavailable, {"code": Code.SERVICE_UNAVAILABLE.value, "retryAfter": UNAVAILABLE_RETRY_AFTER_S}
        )
    error_id = secrets.token_hex(6)
    log.error("unexpected error", extra={"error_id": error_id, "path": error.path}, exc_info=cause)
    message = f"Internal server error. Contact the operator and quote error ID {error_id}."
    return _copy(error, message, {"code": Code.INTERNAL.value})


def _copy(error: GraphQLError, message: str, extensions: dict[str, object]) -> GraphQLError:
    """The error at the same place, without its cause."""
    return GraphQLError(message, nodes=error.nodes, path=error.path, extensions=extensions)


def _code(error: GraphQLError) -> Code:
    return Code.PARSE_FAILED if isinstance(error, GraphQLSyntaxError) else Code.BAD_USER_INPUT
