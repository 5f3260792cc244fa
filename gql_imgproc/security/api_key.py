"""API keys: `gip_`, a public identifier, a secret.

The identifier finds the row and may be seen by people; the whole key is shown once, and only its SHA-256 is kept. The
secret has 238 random bits, so that no slow hash is needed (NIST SP 800-63B, 5.1.1.2 asks for one for secrets that
people choose).
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
_FORM = re.compile(rf"gip_([0-9A-Za-z]{{{PUBLIC_CHARS}}})_[0-9A-Za-z]{{{SECRET_CHARS}}}")
#: What stands where a key is looked for that does not exist, so that it takes as long to be refused.
NO_DIGEST = "0" * 64
#: Longest name of a key or a tenant, in characters.
MAX_NAME_CHARS = 100
#: A key that is to end at all ends within ten years: later moments are mistakes, and not all can be stored.
MAX_LIFE = timedelta(days=3653)
#: The longest that a rotated key goes on beside its successor.
MAX_OVERLAP = timedelta(days=30)


class KeyState(StrEnum):
    """Whether a key is good; the descriptions stand in the GraphQL schema."""

    USABLE = "USABLE"
    #: Usable for a while longer: another key has taken its place.
    ROTATED = "ROTATED"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"

    @property
    def good(self) -> bool:
        return self in (KeyState.USABLE, KeyState.ROTATED)


@dataclass(frozen=True, slots=True)
class ParsedApiKey:
    """What of a key is looked for: its public identifier, and the SHA-256 of the whole."""

    public_id: str
    digest: str

    def matches(self, digest: str) -> bool:
        """Whether it is the key that this digest was kept of; takes as long if not."""
        return hmac.compare_digest(self.digest, digest)


def check_name(name: str) -> str | None:
    """What is wrong with the name of a key or a tenant; None when it can be had."""
    if 0 < len(name) <= MAX_NAME_CHARS and name.isprintable() and name == name.strip():
        return None
    return f"A name has 1 to {MAX_NAME_CHARS} printable characters, and no space at its ends."


def check_expiry(expires_at: datetime, now: datetime) -> str | None:
    """What is wrong with the moment at which a key is to expire; None when it can be had."""
    if now < expires_at <= now + MAX_LIFE:
        return None
    return "A key expires in the future, within ten years. Leave that out for one that does not expire."


def check_overlap(overlap: timedelta) -> str | None:
    """What is wrong with the time that a rotated key goes on; None when it can be had."""
    if timedelta(0) <= overlap <= MAX_OVERLAP:
        return None
    return f"A rotated key goes on for 0 to {MAX_OVERLAP.days} days."


def generate_api_key() -> str:
    return f"gip_{_random(PUBLIC_CHARS)}_{_random(SECRET_CHARS)}"


def parse_api_key(text: str) -> ParsedApiKey | None:
    """A key as somebody presents it; None when it has not the form of one."""
    form = _FORM.fullmatch(text)
    return ParsedApiKey(form[1], sha256(text.encode()).hexdigest()) if form else None


def _random(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))
