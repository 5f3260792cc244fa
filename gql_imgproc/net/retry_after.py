"""The header `Retry-After`: how long a host asks to be left alone."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

#: Digits of seconds that are read; no number of more is meant, and reading thousands of them is slow.
_MAX_DIGITS = 9


def retry_after_s(header: str, now: float) -> float | None:
    """The pause from `now` on, in seconds; None when the header is neither a number nor a date.

    As long as the host likes: how much of it is heard is the caller's to say.
    """
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_MAX_DIGITS])
    try:
        until = parsedate_to_datetime(text)
        # A date of the web is in UTC, also when it does not say so.
        until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
        return max(0.0, until.timestamp() - now)
    except (ValueError, OverflowError):
        return None
