"""Explanations of errors that the test servers cannot produce."""

from __future__ import annotations

from pathlib import Path

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError

from gql_imgproc.storage.errors import hint_for

DOCUMENT = (Path(__file__).parents[2] / "docs/STORAGE.md").read_text(encoding="utf-8")


def error(kind: type[Exception], code: str, status: str = "400 Bad Request") -> Exception:
    body = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>Some words.</Message></Error>'
    return kind(
        f"Generic store error: Error performing PUT https://x.example/a in 2ms - Server returned {status}: {body}"
    )


@pytest.mark.parametrize(
    ("raised", "scheme", "cause", "remedy"),
    [
        (error(GenericError, "ExpiredToken"), "s3", "the credentials have expired", "AWS_ACCESS_KEY_ID"),
        (
            error(PermissionDeniedError, "RequestTimeTooSkewed", "403 Forbidden"),
            "s3",
            "the clocks of the store",
            "clock",
        ),
        (error(GenericError, "AuthorizationHeaderMalformed"), "s3", "the bucket is in another region", "AWS_REGION"),
        (error(GenericError, "PermanentRedirect", "301"), "s3", "the bucket is in another region", "AWS_REGION"),
        (
            GenericError(
                "Received redirect without LOCATION, this normally indicates an incorrectly configured region"
            ),
            "s3",
            "the bucket is in another region",
            "AWS_REGION",
        ),
        (
            error(GenericError, "NotImplemented", "501 Not Implemented"),
            "s3",
            "it does not support this operation",
            "disabled",
        ),
        (
            error(GenericError, "AuthorizationHeaderMalformed: a non-empty Access Key"),
            "s3",
            "no credentials were found",
            "role",
        ),
        (
            GenericError("error sending request\n source: InvalidCertificate(UnknownIssuer), kind: Connect"),
            "s3",
            "its certificate is not trusted",
            "AWS_ENDPOINT_URL",
        ),
        (
            GenericError("error sending request\n kind: Connect, source: dns error"),
            "gs",
            "it cannot be reached",
            "GOOGLE_BASE_URL",
        ),
        (error(GenericError, "SlowDown", "503 Service Unavailable"), "s3", "it is overloaded or failing", "log"),
        (
            error(FileNotFoundError, "ContainerNotFound", "404"),
            "az",
            "the bucket does not exist",
            "IMGPROC_STORAGE_URL",
        ),
        (
            error(UnauthenticatedError, "NoAuthenticationInformation", "401 Unauthorized"),
            "az",
            "the credentials are wrong",
            "AZURE_STORAGE_ACCOUNT_KEY",
        ),
        (
            error(PermissionDeniedError, "AuthenticationFailed", "403 Forbidden"),
            "az",
            "the credentials are wrong",
            "AZURE_STORAGE_ACCOUNT_KEY",
        ),
        (
            error(PermissionDeniedError, "AuthorizationPermissionMismatch", "403 Forbidden"),
            "az",
            "the credentials do not permit this",
            "docs/STORAGE.md",
        ),
        (
            error(PermissionDeniedError, "AccessDenied", "403 Forbidden"),
            "gs",
            "the credentials do not permit this",
            "STORAGE.md",
        ),
    ],
)
def test_error_has_a_documented_cause_and_a_remedy(raised: Exception, scheme: str, cause: str, remedy: str) -> None:
    hint = hint_for(raised, scheme)

    assert hint.cause.startswith(cause)
    assert remedy in hint.remedy
    assert f"| {hint.cause} |" in DOCUMENT


def test_unknown_error_is_reduced_to_its_first_line() -> None:
    hint = hint_for(GenericError("Generic S3 error: The moon is full.\n\nDebug source:\nGeneric { .. }"), "s3")

    assert hint.cause == "Generic S3 error: The moon is full"
    assert "IMGPROC_STORAGE_URL" in hint.remedy
