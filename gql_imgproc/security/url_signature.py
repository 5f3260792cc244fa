"""Addresses that open by themselves for a while: a path, until when, and an HMAC-SHA-256 over both (RFC 2104)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256

EXPIRES, SIGNATURE = "expires", "signature"
#: Ends are put to whole hours, so that an address asked for again and again is the same one.
GRAIN_SECONDS = 3600


def expiry(now: float, seconds: float) -> int:
    """The end, in seconds since 1970, of something signed now that is good for so long, and up to an hour more."""
    return int((now + seconds) // GRAIN_SECONDS + 1) * GRAIN_SECONDS


def sign_path(path: str, expires: int, secret: str) -> str:
    """The path with what makes it good until then."""
    return f"{path}?{EXPIRES}={expires}&{SIGNATURE}={_signature(path, str(expires), secret)}"


def verify_path(path: str, query: Mapping[str, str], secrets: Sequence[str], now: float) -> bool:
    """Whether the query of a path makes it good at this moment, by one of the secrets."""
    expires, given = query.get(EXPIRES, ""), query.get(SIGNATURE, "")
    if not (expires.isascii() and expires.isdecimal() and len(expires) <= 12 and given.isascii()):
        return False
    # All are looked at, so that the time does not tell which one it was.
    good = [hmac.compare_digest(_signature(path, expires, secret), given) for secret in secrets]
    return any(good) and int(expires) > now


def _signature(path: str, expires: str, secret: str) -> str:
    return hmac.new(secret.encode(), f"{path}\n{expires}".encode(), sha256).hexdigest()
