"""Parses the header `Retry-After`."""

from __future__ import annotations

from gql_imgproc.net.http_dates import parse_http_date

#: Digits that are parsed: converting thousands is slow, and no real pause is longer.
_MAX_DIGITS = 9


def parse_retry_after_s(header: str, now: float) -> float | None:
    """Return the pause in seconds from `now`; None if the header is neither a number nor a date.

    The value has no upper limit; the caller must set one.
    """
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:_MAX_DIGITS])
    until = parse_http_date(text)
    return None if until is None else max(0.0, until.timestamp() - now)
