"""Webhook signatures by the Standard Webhooks specification."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from standardwebhooks import Webhook, WebhookVerificationError

from gql_imgproc.errors import ConfigurationError

#: Shorter keys, in bytes, can be guessed by whoever sees one signed message. The specification asks for 24 to 64.
MIN_KEY_BYTES = 16

_PREFIX = "whsec_"
_RECIPE = "echo whsec_$(head -c 32 /dev/urandom | base64)"


def parse_webhook_keys(secrets: str) -> tuple[Webhook, ...]:
    """The keys of a setting: one, or several during a rotation, apart by commas or spaces.

    Raises ConfigurationError when one of them is no key; the message does not contain it.
    """
    return tuple(_key(secret) for secret in re.split(r"[,\s]+", secrets) if secret)


def signature_headers(keys: Sequence[Webhook], message_id: str, at: datetime, payload: str) -> dict[str, str]:
    """The headers of one try that begins `at`; one signature for each key, none without keys."""
    signed = {"webhook-id": message_id, "webhook-timestamp": str(int(at.timestamp()))}
    if keys:
        signed["webhook-signature"] = " ".join(key.sign(message_id, at, payload) for key in keys)
    return signed


def verify(keys: Sequence[Webhook], received: Mapping[str, str], payload: bytes) -> bool:
    """Whether one of the keys signed this payload within the last five minutes."""
    return any(_verified(key, received, payload) for key in keys)


def _key(secret: str) -> Webhook:
    digits = secret.removeprefix(_PREFIX)
    try:
        # The library skips foreign characters, so that a mistyped secret would make a key that nobody else has.
        key = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < MIN_KEY_BYTES:
        raise ConfigurationError(
            f"A webhook secret (IMGPROC_WEBHOOK_SECRET, or --secret) must be `{_PREFIX}` and at least "
            f"{MIN_KEY_BYTES} random bytes in base64. Make one with `{_RECIPE}`."
        )
    return Webhook(key)


def _verified(key: Webhook, received: Mapping[str, str], payload: bytes) -> bool:
    try:
        key.verify(payload, dict(received), json_parse=False)
    except (WebhookVerificationError, ValueError):
        # ValueError: the library lets the faults of malformed signatures and undecodable payloads through.
        return False
    return True
