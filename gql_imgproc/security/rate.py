"""The syntax of rate limits: `60/minute`, `10 per 2 hours`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

#: Redis stores one entry per counted call and caller.
MAX_AMOUNT = 1_000_000
#: Longest period: a day.
MAX_SECONDS = 86_400
_UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_PATTERN = re.compile(rf"([0-9]{{1,7}}) *(?:/|per) *([0-9]{{1,5}})? *({'|'.join(_UNIT_SECONDS)})s?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `amount` in any period of `seconds`."""

    amount: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        match = _PATTERN.fullmatch(text.strip())
        limit = cls(int(match[1]), int(match[2] or 1) * _UNIT_SECONDS[match[3].lower()]) if match else None
        if limit is None or not (0 < limit.amount <= MAX_AMOUNT and 0 < limit.seconds <= MAX_SECONDS):
            raise ValueError(
                "use a rate limit such as `60/minute`, `10/second` or `5 per 2 hours`, over at most a day, or 0"
            )
        return limit
