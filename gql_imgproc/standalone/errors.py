"""Errors of the client commands."""

from __future__ import annotations

from gql_imgproc.errors import ImgprocError


class ServiceError(ImgprocError):
    """The service refused or failed a call; the message says why."""


class ServiceUnavailable(ServiceError):
    """The service cannot handle a call now. A retry may succeed."""
