"""Reads the responses of the service, and raises its errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from gql_imgproc.client.errors import ServiceError, ServiceUnavailable, UserError
from gql_imgproc.client.request import Request, parse_issues, parse_request

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ResponseReader:
    """Every method may raise ServiceError."""

    #: URL of the service, for messages.
    url: str
    has_key: bool

    def body(self, response: httpx.Response) -> dict[str, Any]:
        try:
            return self.data(response.json())
        except (ValueError, TypeError, KeyError, AttributeError):
            if response.is_server_error:
                raise ServiceUnavailable(
                    f"The server at {self.url}/graphql returned status {response.status_code} without a response of "
                    "this service. Check the URL, and whether the service behind it runs"
                ) from None
            raise self._unexpected_response(f" with status {response.status_code}") from None

    def data(self, payload: dict[str, Any]) -> dict[str, Any]:
        errors = payload.get("errors")
        if not errors:
            return dict(payload["data"])
        codes = {error.get("extensions", {}).get("code") for error in errors}
        message = "; ".join(error["message"] for error in errors)
        if "UNAUTHENTICATED" in codes and self.has_key:
            raise ServiceError(f"The service at {self.url} rejected IMGPROC_API_KEY: {message}")
        if "UNAUTHENTICATED" in codes:
            raise ServiceError(
                f"The service at {self.url} requires an API key. Set IMGPROC_API_KEY in the environment or in .env"
            )
        if "FORBIDDEN" in codes:
            raise ServiceError(f"Forbidden: {message} Set IMGPROC_API_KEY to a key with this scope")
        if "SERVICE_UNAVAILABLE" in codes:
            retry_after_s = max(error.get("extensions", {}).get("retryAfter", 0) for error in errors)
            raise ServiceUnavailable(f"The service cannot do this now: {message}", retry_after_s)
        raise ServiceError(f"The service refused the call: {message}")

    def request(self, data: dict[str, Any]) -> Request:
        """The request in the only field of `data`, or in the result of a mutation there; raises UserError."""
        result = self.result(data)
        return self.parse(parse_request, result.get("request", result))

    def parse(self, parse: Callable[[Any], T], value: object) -> T:
        try:
            return parse(value)
        except ValueError:
            raise self._unexpected_response() from None

    def result(self, data: dict[str, Any]) -> dict[str, Any]:
        """The only field of `data`; raises UserError if it is the error of a mutation."""
        try:
            (result,) = data.values()
            if "message" in result:
                issues = parse_issues(result.get("errors", ()))
                raise UserError(result["message"], result["__typename"], issues, result.get("totalErrors", 0))
            return dict(result)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._unexpected_response() from None

    def _unexpected_response(self, status: str = "") -> ServiceError:
        return ServiceError(
            f"The server at {self.url}/graphql{status} is not this service. "
            "Correct the URL, for example http://127.0.0.1:8000"
        )
