"""What is wrong with an object store, from what it answered; and the mend."""

from __future__ import annotations

from dataclasses import dataclass

from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

#: Variables that a mend names, by the scheme of the store's address.
_KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "GOOGLE_BASE_URL", "az": "AZURE_STORAGE_ENDPOINT"}

#: Codes by which S3, Google and Azure say that there is no such bucket; else a 404 is about an object.
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")


@dataclass(frozen=True, slots=True)
class StorageErrorHint:
    """What is wrong, to go on from "because" or a colon; and what to do about it."""

    cause: str
    mend: str


def is_bucket_missing(error: BaseException) -> bool:
    return any(code in str(error) for code in _NO_BUCKET)


def hint_for(error: BaseException, scheme: str) -> StorageErrorHint:
    """What is wrong with the store at an address of this scheme. Most telling signs first."""
    said = str(error)
    keys, endpoint = _KEYS.get(scheme, ""), _ENDPOINTS.get(scheme, "")

    def tells(*signs: str) -> bool:
        return any(sign in said for sign in signs)

    if scheme == "file":
        return StorageErrorHint(reason(error), "Check IMGPROC_STORAGE_URL and that this user may write there")
    if is_bucket_missing(error):
        return StorageErrorHint("there is no such bucket", "Create it, or mend IMGPROC_STORAGE_URL")
    if tells(
        "latest/api/token", "metadata/identity", "computeMetadata", "non-empty Access Key", "Account must be specified"
    ):
        # Without a key in the environment, obstore asks the machine that it runs on for one.
        return StorageErrorHint("no key was given", f"Set {keys}, or give this machine a role that may use the bucket")
    if tells("ExpiredToken", "TokenRefreshRequired"):
        return StorageErrorHint("the key has expired", f"Set {keys} to one that has not")
    if tells("RequestTimeTooSkewed"):
        return StorageErrorHint("its clock and that of this machine are too far apart", "Set the clock of this machine")
    if tells("AuthorizationHeaderMalformed", "PermanentRedirect", "redirect without LOCATION"):
        return StorageErrorHint("the bucket is in another region", "Set AWS_REGION to that of the bucket")
    if isinstance(error, UnauthenticatedError) or tells(
        "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthenticationFailed", "401 Unauthorized"
    ):
        return StorageErrorHint("it does not know the key, or the key has another secret", f"Check {keys}")
    if isinstance(error, PermissionDeniedError) or tells("AccessDenied", "403 Forbidden"):
        return StorageErrorHint(
            "the key may not do this", "Let it read, write, list and remove objects, as docs/STORAGE.md shows"
        )
    if tells("NotImplemented", "501 Not Implemented"):
        return StorageErrorHint(
            "it does not know this call", "Set AWS_CONDITIONAL_PUT=disabled or AWS_DISABLE_BULK_DELETE=true"
        )
    if tells("InvalidCertificate", "UnknownIssuer", "CaUsedAsEndEntity"):
        return StorageErrorHint("its certificate is not trusted here", f"Use one that is, or mend {endpoint}")
    if isinstance(error, TimeoutError) or tells("kind: Timeout", "timed out"):
        return StorageErrorHint("it does not answer", f"Check that it runs, and {endpoint}")
    if tells("kind: Connect", "error sending request", "dns error"):
        return StorageErrorHint("nothing answers where it should be", f"Check that it runs, and {endpoint}")
    if tells("Service Unavailable", "SlowDown", "Internal Server Error", "Bad Gateway", "Gateway Timeout"):
        return StorageErrorHint("it is busy or out of order", "Look at the store's own log")
    return StorageErrorHint(reason(error), "Check IMGPROC_STORAGE_URL and the access it needs")


def reason(error: BaseException) -> str:
    """What obstore says, without the dump of its own values that follows."""
    return str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
