"""Explains errors of an object store: cause and remedy."""

from __future__ import annotations

from dataclasses import dataclass

#: Variables named in a remedy, by the scheme of the store's URL.
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "GOOGLE_BASE_URL", "az": "AZURE_STORAGE_ENDPOINT"}

#: Codes of S3, Google and Azure for a missing bucket. A 404 without one of them means a missing object.
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")

#: Texts of an error or names of its class, the most specific first; the cause; the remedy.
_HINTS = (
    (_NO_BUCKET, "the bucket does not exist", "Create it, or correct IMGPROC_STORAGE_URL"),
    # Without credentials in the environment, obstore requests them from the metadata service of the machine.
    (("latest/api/token", "metadata/identity", "computeMetadata", "non-empty Access Key", "Account must be specified"),
     "no credentials were found", "Set {credentials}, or give this machine a role that may use the bucket"),
    (("ExpiredToken", "TokenRefreshRequired"), "the credentials have expired", "Set new ones in {credentials}"),
    (("RequestTimeTooSkewed",),
     "the clocks of the store and of this machine differ too much", "Set the clock of this machine"),
    (("AuthorizationHeaderMalformed", "PermanentRedirect", "redirect without LOCATION"),
     "the bucket is in another region", "Set AWS_REGION to the region of the bucket"),
    (("UnauthenticatedError", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthenticationFailed",
      "401 Unauthorized"), "the credentials are wrong", "Check {credentials}"),
    (("PermissionDeniedError", "AccessDenied", "403 Forbidden"), "the credentials do not permit this",
     "Allow them to read, write, list and delete objects, as docs/STORAGE.md shows"),
    (("NotImplemented", "501 Not Implemented"), "it does not support this operation",
     "Set AWS_CONDITIONAL_PUT=disabled or AWS_DISABLE_BULK_DELETE=true"),
    (("InvalidCertificate", "UnknownIssuer", "CaUsedAsEndEntity"), "its certificate is not trusted",
     "Use a trusted one, or correct {endpoint}"),
    (("TimeoutError", "kind: Timeout", "timed out"), "it does not respond",
     "Check that it is running, and check {endpoint}"),
    (("kind: Connect", "error sending request", "dns error"), "it cannot be reached",
     "Check that it is running, and check {endpoint}"),
    (("Service Unavailable", "SlowDown", "Internal Server Error", "Bad Gateway", "Gateway Timeout"),
     "it is overloaded or failing", "Check the log of the store"),
)  # fmt: skip


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
    text = f"{type(error).__name__}: {error}"
    for texts, cause, remedy in _HINTS:
        if any(part in text for part in texts):
            names = {"credentials": _CREDENTIALS.get(scheme, ""), "endpoint": _ENDPOINTS.get(scheme, "")}
            return StorageErrorHint(cause, remedy.format(**names))
    return StorageErrorHint(reason(error), "Check IMGPROC_STORAGE_URL and the permissions of the service")


def reason(error: BaseException) -> str:
    """Return obstore's message without the debug output that follows it."""
    return str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
