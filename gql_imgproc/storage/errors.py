"""Explains errors of an object store: cause and remedy."""

from __future__ import annotations

from dataclasses import dataclass

from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

#: Variables named in a remedy, by the scheme of the store's URL.
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "GOOGLE_BASE_URL", "az": "AZURE_STORAGE_ENDPOINT"}

#: Codes of S3, Google and Azure for a missing bucket. A 404 without one of them means a missing object.
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")


@dataclass(frozen=True, slots=True)
class StorageErrorHint:
    """What is wrong (without a capital letter or full stop), and how to fix it."""

    cause: str
    remedy: str


def is_bucket_missing(error: BaseException) -> bool:
    return any(code in str(error) for code in _NO_BUCKET)


def hint_for(error: BaseException, scheme: str) -> StorageErrorHint:
    """Explain an error of a store with this URL scheme."""
    if scheme == "file":
        return StorageErrorHint(reason(error), "Check IMGPROC_STORAGE_URL and that this user may write there")
    return _access_hint(error, scheme) or _availability_hint(error, scheme)


def _access_hint(error: BaseException, scheme: str) -> StorageErrorHint | None:
    """Explain errors of the bucket and the credentials. The order matters: the most specific codes first."""
    credentials = _CREDENTIALS.get(scheme, "")
    if is_bucket_missing(error):
        return StorageErrorHint("the bucket does not exist", "Create it, or correct IMGPROC_STORAGE_URL")
    # Without credentials in the environment, obstore requests them from the metadata service of the machine.
    metadata_service = ("latest/api/token", "metadata/identity", "computeMetadata")
    if _mentions(error, *metadata_service, "non-empty Access Key", "Account must be specified"):
        return StorageErrorHint(
            "no credentials were found", f"Set {credentials}, or give this machine a role that may use the bucket"
        )
    if _mentions(error, "ExpiredToken", "TokenRefreshRequired"):
        return StorageErrorHint("the credentials have expired", f"Set new ones in {credentials}")
    if _mentions(error, "RequestTimeTooSkewed"):
        return StorageErrorHint(
            "the clocks of the store and of this machine differ too much", "Set the clock of this machine"
        )
    if _mentions(error, "AuthorizationHeaderMalformed", "PermanentRedirect", "redirect without LOCATION"):
        return StorageErrorHint("the bucket is in another region", "Set AWS_REGION to the region of the bucket")
    wrong_credentials = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthenticationFailed")
    if isinstance(error, UnauthenticatedError) or _mentions(error, *wrong_credentials, "401 Unauthorized"):
        return StorageErrorHint("the credentials are wrong", f"Check {credentials}")
    if isinstance(error, PermissionDeniedError) or _mentions(error, "AccessDenied", "403 Forbidden"):
        return StorageErrorHint(
            "the credentials do not permit this",
            "Allow them to read, write, list and delete objects, as docs/STORAGE.md shows",
        )
    return None


def _availability_hint(error: BaseException, scheme: str) -> StorageErrorHint:
    endpoint = _ENDPOINTS.get(scheme, "")
    if _mentions(error, "NotImplemented", "501 Not Implemented"):
        return StorageErrorHint(
            "it does not support this operation", "Set AWS_CONDITIONAL_PUT=disabled or AWS_DISABLE_BULK_DELETE=true"
        )
    if _mentions(error, "InvalidCertificate", "UnknownIssuer", "CaUsedAsEndEntity"):
        return StorageErrorHint("its certificate is not trusted", f"Use a trusted one, or correct {endpoint}")
    if isinstance(error, TimeoutError) or _mentions(error, "kind: Timeout", "timed out"):
        return StorageErrorHint("it does not respond", f"Check that it is running, and check {endpoint}")
    if _mentions(error, "kind: Connect", "error sending request", "dns error"):
        return StorageErrorHint("it cannot be reached", f"Check that it is running, and check {endpoint}")
    if _mentions(error, "Service Unavailable", "SlowDown", "Internal Server Error", "Bad Gateway", "Gateway Timeout"):
        return StorageErrorHint("it is overloaded or failing", "Check the log of the store")
    return StorageErrorHint(reason(error), "Check IMGPROC_STORAGE_URL and the permissions of the service")


def _mentions(error: BaseException, *texts: str) -> bool:
    return any(text in str(error) for text in texts)


def reason(error: BaseException) -> str:
    """Return obstore's message without the debug output that follows it."""
    return str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
