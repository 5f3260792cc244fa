"""Parses dates in the headers of responses."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Characters of a date that are parsed.
_MAX_DATE_CHARS = 64


def parse_http_date(text: str) -> datetime | None:
    """Returns the time in a header; None if it is no date. A date without a time zone is in UTC."""
    if len(text) > _MAX_DATE_CHARS:
        return None
    try:
        parsed = parsedate_to_datetime(text)
        return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
