"""Webhook signatures as the Standard Webhooks specification defines them."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

from standardwebhooks import Webhook, WebhookVerificationError

from gql_imgproc.errors import ConfigurationError

#: Shorter keys can be guessed from one signed message. The specification recommends 24 to 64 bytes.
MIN_KEY_BYTES = 16

#: Size of the secrets that the service generates.
KEY_BYTES = 32

_PREFIX = "whsec_"
_GENERATE = "echo whsec_$(head -c 32 /dev/urandom | base64)"


def generate_webhook_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse_webhook_keys(text: str) -> tuple[Webhook, ...]:
    """Parse the keys of a setting: one, or several during a rotation, separated by commas or spaces.

    Raises ConfigurationError for an invalid key. The message does not contain it.
    """
    return tuple(_parse_key(secret) for secret in re.split(r"[,\s]+", text) if secret)


def signature_headers(keys: Sequence[Webhook], message_id: str, sent_at: datetime, payload: str) -> dict[str, str]:
    """Return the headers of one delivery attempt, with a signature by each key."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(int(sent_at.timestamp()))}
    if keys:
        headers["webhook-signature"] = " ".join(key.sign(message_id, sent_at, payload) for key in keys)
    return headers


def verify(keys: Sequence[Webhook], received: Mapping[str, str], payload: bytes) -> bool:
    """Whether one of the keys signed this payload in the last five minutes."""
    return any(_is_signed_by(key, received, payload) for key in keys)


def _parse_key(secret: str) -> Webhook:
    digits = secret.removeprefix(_PREFIX)
    try:
        # Strict: the library ignores invalid characters, so a mistyped secret would become a different key.
        key = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < MIN_KEY_BYTES:
        raise ConfigurationError(
            f"A webhook secret (IMGPROC_WEBHOOK_SECRET, or --secret) must be `{_PREFIX}` and at least "
            f"{MIN_KEY_BYTES} random bytes in base64. Generate one with `{_GENERATE}`."
        )
    return Webhook(key)


def _is_signed_by(key: Webhook, received: Mapping[str, str], payload: bytes) -> bool:
    try:
        key.verify(payload, dict(received), json_parse=False)
    except (WebhookVerificationError, ValueError):
        # ValueError: raised by the library for malformed signatures and undecodable payloads.
        return False
    return True
