"""How often something may be done: `60/minute`, `10 per 2 hours`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

#: Each so many entries in Redis, for each caller.
LARGEST = 1_000_000
#: Longest span, in seconds: a day.
LONGEST = 86_400
_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_FORM = re.compile(rf"([0-9]{{1,7}}) *(?:/|per) *([0-9]{{1,5}})? *({'|'.join(_SECONDS)})s?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many in any span of so many seconds."""

    amount: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        form = _FORM.fullmatch(text.strip())
        rate = cls(int(form[1]), int(form[2] or 1) * _SECONDS[form[3].lower()]) if form else None
        if rate is None or not (0 < rate.amount <= LARGEST and 0 < rate.seconds <= LONGEST):
            raise ValueError(
                "use a rate such as `60/minute`, `10/second` or `5 per 2 hours`, within a day; or 0 for none"
            )
        return rate
