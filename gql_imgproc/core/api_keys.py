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
from hashlib import sha256

_LETTERS = string.ascii_letters + string.digits
PUBLIC_CHARS, SECRET_CHARS = 12, 40
_FORM = re.compile(rf"gip_([0-9A-Za-z]{{{PUBLIC_CHARS}}})_[0-9A-Za-z]{{{SECRET_CHARS}}}")
#: What stands where a key is looked for that does not exist, so that it takes as long to be refused.
NO_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """What of a key is looked for: its public identifier, and the SHA-256 of the whole."""

    public_id: str
    digest: str

    def matches(self, digest: str) -> bool:
        """Whether it is the key that this digest was kept of; takes as long if not."""
        return hmac.compare_digest(self.digest, digest)


def new_key() -> str:
    return f"gip_{_random(PUBLIC_CHARS)}_{_random(SECRET_CHARS)}"


def presented(text: str) -> PresentedKey | None:
    """A key as somebody presents it; None when it has not the form of one."""
    form = _FORM.fullmatch(text)
    return PresentedKey(form[1], sha256(text.encode()).hexdigest()) if form else None


def _random(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))
