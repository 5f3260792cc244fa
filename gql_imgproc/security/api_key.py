"""The form of an API key: `gip_`, a public identifier, a secret.

The identifier is not secret and finds the row. The whole key is shown once, and only its SHA-256 is stored. The secret
has 238 random bits, so a slow hash is unnecessary (NIST SP 800-63B, 5.1.1.2 requires one for secrets that people
choose).
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

_LETTERS = string.ascii_letters + string.digits
PUBLIC_CHARS, SECRET_CHARS = 12, 40
_PATTERN = re.compile(rf"gip_([0-9A-Za-z]{{{PUBLIC_CHARS}}})_[0-9A-Za-z]{{{SECRET_CHARS}}}")
#: Compared when a key does not exist, so that the response takes as long as for a wrong secret.
NO_DIGEST = "0" * 64
#: Longest name of an API key or a tenant, in characters.
MAX_NAME_CHARS = 100
#: Longest lifetime of an API key that expires: a later date is a mistake, and databases cannot store every date.
MAX_LIFETIME = timedelta(days=3653)
#: Longest time that a rotated API key stays valid together with its successor.
MAX_OVERLAP = timedelta(days=30)


class ApiKeyState(StrEnum):
    """The GraphQL schema describes the values."""

    USABLE = "USABLE"
    #: Still valid for its overlap; a successor exists.
    ROTATED = "ROTATED"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True)
class ParsedApiKey:
    """The public identifier of an API key, and the SHA-256 of the whole key."""

    public_id: str
    digest: str

    def matches(self, digest: str) -> bool:
        """Compare with a stored digest in constant time."""
        return hmac.compare_digest(self.digest, digest)


def check_name(name: str) -> str | None:
    """Return what is wrong with the name of an API key or a tenant; None if it is valid."""
    if 0 < len(name) <= MAX_NAME_CHARS and name.isprintable() and name == name.strip():
        return None
    return f"A name has 1 to {MAX_NAME_CHARS} printable characters and no leading or trailing space."


def check_expiry(expires_at: datetime, now: datetime) -> str | None:
    """Return what is wrong with the expiry of an API key; None if it is valid."""
    if now < expires_at <= now + MAX_LIFETIME:
        return None
    return "The expiry must be in the future and within ten years. Omit it for a key that does not expire."


def check_overlap(overlap: timedelta) -> str | None:
    """Return what is wrong with the time that a rotated key stays valid; None if it is valid."""
    if timedelta(0) <= overlap <= MAX_OVERLAP:
        return None
    return f"A rotated key can stay valid for 0 to {MAX_OVERLAP.days} days."


def generate_api_key() -> str:
    return f"gip_{_random_letters(PUBLIC_CHARS)}_{_random_letters(SECRET_CHARS)}"


def parse_api_key(text: str) -> ParsedApiKey | None:
    """Parse an API key of a request; None if it is malformed."""
    match = _PATTERN.fullmatch(text)
    return ParsedApiKey(match[1], sha256(text.encode()).hexdigest()) if match else None


def _random_letters(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))
