"""What stores answer that no server here can be brought to answer, and what is made of it."""

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
    ("raised", "scheme", "cause", "mend"),
    [
        (error(GenericError, "ExpiredToken"), "s3", "the key has expired", "AWS_ACCESS_KEY_ID"),
        (error(PermissionDeniedError, "RequestTimeTooSkewed", "403 Forbidden"), "s3", "its clock and that", "clock"),
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
        (error(GenericError, "NotImplemented", "501 Not Implemented"), "s3", "it does not know this call", "disabled"),
        (error(GenericError, "AuthorizationHeaderMalformed: a non-empty Access Key"), "s3", "no key was given", "role"),
        (
            GenericError("error sending request\n source: InvalidCertificate(UnknownIssuer), kind: Connect"),
            "s3",
            "its certificate is not trusted here",
            "AWS_ENDPOINT_URL",
        ),
        (
            GenericError("error sending request\n kind: Connect, source: dns error"),
            "gs",
            "nothing answers where it should be",
            "GOOGLE_BASE_URL",
        ),
        (error(GenericError, "SlowDown", "503 Service Unavailable"), "s3", "it is busy or out of order", "log"),
        (error(FileNotFoundError, "ContainerNotFound", "404"), "az", "there is no such bucket", "IMGPROC_STORAGE_URL"),
        (
            error(UnauthenticatedError, "NoAuthenticationInformation", "401 Unauthorized"),
            "az",
            "it does not know the key, or the key has another secret",
            "AZURE_STORAGE_ACCOUNT_KEY",
        ),
        (
            error(PermissionDeniedError, "AuthenticationFailed", "403 Forbidden"),
            "az",
            "it does not know the key, or the key has another secret",
            "AZURE_STORAGE_ACCOUNT_KEY",
        ),
        (
            error(PermissionDeniedError, "AuthorizationPermissionMismatch", "403 Forbidden"),
            "az",
            "the key may not do this",
            "docs/STORAGE.md",
        ),
        (error(PermissionDeniedError, "AccessDenied", "403 Forbidden"), "gs", "the key may not do this", "STORAGE.md"),
    ],
)
def test_an_answer_is_a_cause_and_a_mend_that_the_document_has(
    raised: Exception, scheme: str, cause: str, mend: str
) -> None:
    fault = hint_for(raised, scheme)

    assert fault.cause.startswith(cause)
    assert mend in fault.mend
    assert f"| {fault.cause} |" in DOCUMENT


def test_an_answer_that_nobody_foresaw_is_its_first_line() -> None:
    fault = hint_for(GenericError("Generic S3 error: The moon is full.\n\nDebug source:\nGeneric { .. }"), "s3")

    assert fault.cause == "Generic S3 error: The moon is full"
    assert "IMGPROC_STORAGE_URL" in fault.mend
