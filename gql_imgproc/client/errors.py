"""Errors of the client. Each message says what is wrong and how to fix it."""

from __future__ import annotations

from gql_imgproc.client.request import CsvIssue
from gql_imgproc.errors import ImgprocError


class ServiceError(ImgprocError):
    """The service refused or failed a call."""


class InvalidServiceUrl(ServiceError):
    """The URL of the service is malformed."""

    exit_status = 2

    def __init__(self, url: str) -> None:
        super().__init__(f"Invalid service URL {url}. Use a URL such as http://127.0.0.1:8000")


class ServiceUnavailable(ServiceError):
    """The service cannot be reached, or cannot handle a call now.

    A retry may succeed, after `retry_after_s` if the service knows that.
    """

    exit_status = 4

    def __init__(self, message: str, retry_after_s: float = 0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UserError(ServiceError):
    """The service refused a change for a reason that the caller can fix, and changed nothing.

    `code` is the name of the result's type in the GraphQL schema, for example `CsvInvalid` or `RequestNotFound`.
    `total_issues` counts also the issues of a CSV file that are not listed in `issues`.
    """

    def __init__(self, message: str, code: str, issues: tuple[CsvIssue, ...] = (), total_issues: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.issues = issues
        self.total_issues = total_issues
