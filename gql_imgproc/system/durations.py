"""Parses durations such as `90d`, `24h`, `30m` or `45s`."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_PATTERN = re.compile(r"(\d{1,6})([dhms])", re.ASCII)


def parse_duration(text: str) -> timedelta | None:
    """Returns the duration; None if the text is not one."""
    match = _PATTERN.fullmatch(text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
