"""The syntax of rate limits."""

from __future__ import annotations

import pytest

from gql_imgproc.security.rate import RateLimit


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("60/minute", RateLimit(60, 60)),
        ("10 per second", RateLimit(10, 1)),
        (" 5 per 2 hours ", RateLimit(5, 7_200)),
        ("1000000/DAY", RateLimit(1_000_000, 86_400)),
    ],
)
def test_rate_limit_is_parsed(text: str, limit: RateLimit) -> None:
    assert RateLimit.parse(text) == limit


@pytest.mark.parametrize(
    "text", ["", "60", "0/minute", "60/0 minutes", "-1/minute", "2/2 days", "1000001/day", "1/week"]
)
def test_invalid_rate_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="use a rate limit such as `60/minute`"):
        RateLimit.parse(text)
