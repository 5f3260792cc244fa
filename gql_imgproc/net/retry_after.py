"""Parses the header `Retry-After`."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

#: Digits that are parsed: converting thousands is slow, and no real pause is longer.
_MAX_DIGITS = 9


def parse_retry_after_s(header: str, now: float) -> float | None:
    """Return the pause in seconds from `now`; None if the header is neither a number nor a date.

    The value has no upper limit; the caller must set one.
    """
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_MAX_DIGITS])
    try:
        until = parsedate_to_datetime(text)
        # HTTP dates are in UTC, even without a zone.
        until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
        return max(0.0, until.timestamp() - now)
    except (ValueError, OverflowError):
        return None
