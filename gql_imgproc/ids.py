"""IDs: one UUID per row, the same in the database, in GraphQL and in URLs."""

from __future__ import annotations

import secrets
import time
from enum import StrEnum
from uuid import UUID

#: The tenant that always exists, and that callers without an API key use: the nil UUID of RFC 9562.
DEFAULT_TENANT = UUID(int=0)


class IdPrefix(StrEnum):
    """The kind of object that a global ID names, and its prefix."""

    REQUEST = "req"
    PRODUCT = "prd"
    IMAGE = "img"
    API_KEY = "key"
    AUDIT_EVENT = "evt"
    WEBHOOK_ENDPOINT = "whe"
    #: The `webhook-id` of a delivery.
    WEBHOOK_DELIVERY = "msg"


def new_id() -> UUID:
    """Returns a version 7 UUID with 62 random bits (RFC 9562). It sorts by time, so database indexes stay compact."""
    return new_ids(1)[0]


def new_ids(count: int) -> list[UUID]:
    """Returns new IDs in ascending order."""
    milliseconds, rest_ns = divmod(time.time_ns(), 1_000_000)
    # Method 3 of RFC 9562, 6.2: rows that were created within one millisecond also sort by time.
    fraction = (rest_ns << 12) // 1_000_000
    # One call of the system for all.
    random = secrets.token_bytes(8 * count)
    tails = sorted(int.from_bytes(random[start : start + 8]) >> 2 for start in range(0, 8 * count, 8))
    head = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62
    return [UUID(int=head | tail) for tail in tails]


def lowest_id(timestamp_s: float) -> UUID:
    """Returns an ID below those of this time and later, and above those of earlier times."""
    return UUID(int=int(timestamp_s * 1000) << 80)


def encode_global_id(prefix: IdPrefix, value: UUID) -> str:
    """Returns the ID that callers use, for instance `req_018f…`."""
    return f"{prefix.value}_{value.hex}"


def decode_global_id(text: str) -> tuple[IdPrefix, UUID] | None:
    """Returns the parts of a global ID; None if it is malformed."""
    prefix, _, digits = text.partition("_")
    if len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    try:
        return IdPrefix(prefix), UUID(hex=digits)
    except ValueError:
        return None


def parse_global_id(text: str, kind: IdPrefix) -> UUID | None:
    """Returns the UUID in a global ID of this kind; None if it is malformed or names something else."""
    decoded = decode_global_id(text)
    return decoded[1] if decoded and decoded[0] is kind else None
