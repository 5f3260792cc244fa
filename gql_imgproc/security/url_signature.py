"""Signed URLs: a path, its expiry, and an HMAC-SHA-256 of both (RFC 2104). They need no API key."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256

EXPIRES, SIGNATURE = "expires", "signature"
#: The expiry is rounded up to whole hours, so that repeated queries return the same URL and caches work.
ROUND_TO_SECONDS = 3600


def compute_expiry(now: float, seconds: float) -> int:
    """Return the Unix time at which a URL expires: after `seconds`, and up to an hour more."""
    return int((now + seconds) // ROUND_TO_SECONDS + 1) * ROUND_TO_SECONDS


def sign_path(path: str, expires: int, secret: str) -> str:
    return f"{path}?{EXPIRES}={expires}&{SIGNATURE}={_sign(path, str(expires), secret)}"


def verify_path(path: str, query: Mapping[str, str], secrets: Sequence[str], now: float) -> bool:
    """Whether the query has a signature by one of the secrets that has not expired."""
    expires, signature = query.get(EXPIRES, ""), query.get(SIGNATURE, "")
    if not (expires.isascii() and expires.isdecimal() and len(expires) <= 12 and signature.isascii()):
        return False
    # All secrets are compared, so that the response time does not reveal which one matches.
    matches = [hmac.compare_digest(_sign(path, expires, secret), signature) for secret in secrets]
    return any(matches) and int(expires) > now


def _sign(path: str, expires: str, secret: str) -> str:
    return hmac.new(secret.encode(), f"{path}\n{expires}".encode(), sha256).hexdigest()
