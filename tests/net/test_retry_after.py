"""Parsing of `Retry-After`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gql_imgproc.net.retry_after import parse_retry_after_s


@pytest.fixture
def local_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A local time zone that differs from UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC-5:45")
        time.tzset()
        yield
    time.tzset()


NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("9" * 5_000, 999_999_999.0),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0),
        ("Thu, 01 Jan 2026 01:01:00 +0100", 60.0),
        ("Thursday, 01-Jan-26 00:01:00 GMT", 60.0),
        ("Thu Jan  1 00:01:00 2026", 60.0),
        ("Thu, 01 Jan 2026 00:01:00 -0000", 60.0),
        ("Wed, 31 Dec 2025 23:59:59 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() - NOW),
        *((nonsense, None) for nonsense in ("", "-5", "1.5", "soon", "١٢", "1e3", "120, 60", "120 s", "\x00")),
        ("Fri, 99 Dec 2026 99:99:99 GMT", None),
        ("Fri, 01 Jan 2026 00:00:00 +9999999999", None),
    ],
)
def test_seconds_and_dates_are_parsed(header: str, pause_s: float | None, local_time_zone: None) -> None:
    assert parse_retry_after_s(header, NOW) == pause_s


DATE_LIKE = st.text(st.sampled_from("0123456789 :,-+./aJnFebTuGMTUZ"), max_size=40)


@given(st.one_of(DATE_LIKE, st.text(max_size=60)))
def test_any_header_is_parsed_or_ignored(header: str) -> None:
    pause_s = parse_retry_after_s(header, NOW)

    assert pause_s is None or 0 <= pause_s < 1e12
