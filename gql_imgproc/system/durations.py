"""Lengths of time as people write them: `90d`, `24h`, `30m`, `45s`."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_FORM = re.compile(r"(\d{1,6})([dhms])", re.ASCII)


def parse_duration(text: str) -> timedelta | None:
    """The length of time; None when it is none."""
    form = _FORM.fullmatch(text)
    return timedelta(**{_UNITS[form[2]]: int(form[1])}) if form else None
