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
    """Returns a version 7 UUID (RFC 9562) with 74 random bits. It sorts by time, which keeps database indexes compact.

    The standard library has this function since Python 3.14.
    """
    return new_ids(1)[0]


def new_ids(count: int) -> list[UUID]:
    """Returns new IDs in ascending order."""
    milliseconds = time.time_ns() // 1_000_000
    # One call of the system for all.
    random = secrets.token_bytes(10 * count)
    tails = sorted(int.from_bytes(random[start : start + 10]) & (1 << 74) - 1 for start in range(0, 10 * count, 10))
    head = milliseconds << 80 | 0x7 << 76 | 0b10 << 62
    return [UUID(int=head | (tail >> 62) << 64 | tail & (1 << 62) - 1) for tail in tails]


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
