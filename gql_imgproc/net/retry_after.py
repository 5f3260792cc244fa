"""Parses the header `Retry-After`, and dates in headers."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Digits that are parsed: converting thousands is slow, and no real pause is longer.
_MAX_DIGITS = 9
#: Characters of a date that are parsed.
_MAX_DATE_CHARS = 64


def parse_retry_after_s(header: str, now: float) -> float | None:
    """Return the pause in seconds from `now`; None if the header is neither a number nor a date.

    The value has no upper limit; the caller must set one.
    """
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_MAX_DIGITS])
    until = parse_http_date(text)
    return None if until is None else max(0.0, until.timestamp() - now)


def parse_http_date(text: str) -> datetime | None:
    """None for other text. Dates are in UTC, even without a zone."""
    if len(text) > _MAX_DATE_CHARS:
        return None
    try:
        parsed = parsedate_to_datetime(text)
        return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
