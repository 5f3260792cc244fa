"""The host of a URL, and what an outcome says about it."""

from __future__ import annotations

import pytest

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.net.fetch_errors import FetchError, FetchErrorKind
from gql_imgproc.net.host_answers import HostAnswer, host_answer, host_overloaded
from gql_imgproc.net.hosts import host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://images.example/a.jpg", "images.example:443"),
        ("http://images.example", "images.example:80"),
        ("HTTPS://Images.EXAMPLE.?q", "images.example:443"),
        ("http://images.example:08080#x", "images.example:8080"),
        ("https://images.example:443/", "images.example:443"),
        ("http://images.example:/a", "images.example:80"),
        ("http://10.1.2.3:81/a", "10.1.2.3:81"),
        ("https://[2001:DB8::1]:8443/a", "[2001:db8::1]:8443"),
        ("https://bücher.example/a", "xn--bcher-kva.example:443"),
        ("https://xn--bcher-kva.example/a", "xn--bcher-kva.example:443"),
        ("https:///a", ""),
        ("no URL", ""),
    ],
)
def test_host_has_one_form(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("http_status", "retry_after_s", "answer"),
    [
        (429, None, HostAnswer.REFUSED),
        (429, 2.0, HostAnswer.REFUSED),
        (503, 2.0, HostAnswer.REFUSED),
        (503, None, HostAnswer.UNAVAILABLE),
        (500, None, HostAnswer.SERVED),
        (404, None, HostAnswer.SERVED),
    ],
)
def test_status_is_mapped_to_an_answer(http_status: int, retry_after_s: float | None, answer: HostAnswer) -> None:
    kind = FetchErrorKind.from_status(http_status)
    error = FetchError(kind, "Error.", http_status=http_status, retry_after_s=retry_after_s)

    assert host_answer(error) == (answer, retry_after_s)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (FetchErrorKind.NAME_NOT_RESOLVED, HostAnswer.FAILED),
        (FetchErrorKind.NOT_CONNECTED, HostAnswer.FAILED),
        (FetchErrorKind.CONNECT_TIMEOUT, HostAnswer.FAILED),
        (FetchErrorKind.READ_TIMEOUT, HostAnswer.FAILED),
        (FetchErrorKind.RESPONSE_BROKEN, HostAnswer.FAILED),
        (FetchErrorKind.TOTAL_TIMEOUT, HostAnswer.SERVED),
        (FetchErrorKind.HOST_FORBIDDEN, HostAnswer.SERVED),
        (FetchErrorKind.TOO_LARGE, HostAnswer.SERVED),
    ],
)
def test_failure_is_mapped_to_an_answer(kind: FetchErrorKind, answer: HostAnswer) -> None:
    assert host_answer(FetchError(kind, "Error.")) == (answer, None)


def test_success_and_errors_of_the_image_are_served() -> None:
    assert host_answer(None) == (HostAnswer.SERVED, None)
    assert host_answer(ImageError(ImageErrorCode.CORRUPT, "Error.")) == (HostAnswer.SERVED, None)


def test_error_of_an_overloaded_host_is_retried_in_a_later_round() -> None:
    error = host_overloaded("images.example:443")

    assert (error.code, error.retryable) == (ImageErrorCode.HOST_OVERLOADED, True)
    assert error.message.startswith("images.example:443 is overloaded")
