"""Names of things: one identifier per row, the same in the database, in GraphQL and in addresses."""

from __future__ import annotations

import secrets
import time
from enum import StrEnum
from uuid import UUID

#: The tenant of everything that was there before there were others, and of callers without a key: the nil UUID of
#: RFC 9562.
DEFAULT_TENANT = UUID(int=0)


class IdPrefix(StrEnum):
    """What an identifier names; the prefix of its outside form."""

    REQUEST = "req"
    PRODUCT = "prd"
    IMAGE = "img"
    API_KEY = "key"
    AUDIT_EVENT = "evt"


def new_id() -> UUID:
    """A version 7 UUID (RFC 9562): sorts by time, so that index pages stay local; 74 random bits.

    The standard library has it from Python 3.14 on.
    """
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    value = milliseconds << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return UUID(int=value)


def encode_global_id(kind: IdPrefix, value: UUID) -> str:
    """The outside form, for instance `req_018f…`."""
    return f"{kind.value}_{value.hex}"


def decode_global_id(text: str) -> tuple[IdPrefix, UUID] | None:
    """What an outside form names; None when it is not one of ours."""
    prefix, _, digits = text.partition("_")
    if len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    try:
        return IdPrefix(prefix), UUID(hex=digits)
    except ValueError:
        return None


def request_id_from(text: str) -> UUID | None:
    """The request that an outside form names; None when it names none."""
    named = decode_global_id(text)
    return named[1] if named and named[0] is IdPrefix.REQUEST else None
