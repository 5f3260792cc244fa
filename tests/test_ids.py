"""IDs sort by the time of their creation."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gql_imgproc import ids

START_NS = 1_700_000_000_000_000_000


def test_ids_of_one_millisecond_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given times of one millisecond, a quarter of a microsecond apart,
    times = iter(range(START_NS, START_NS + 1_000_000, 250))
    monkeypatch.setattr(ids, "time", SimpleNamespace(time_ns=lambda: next(times)))

    # when IDs are created, one by one and in a batch,
    created = [ids.new_id() for _ in range(3_000)]
    created += ids.new_ids(1_000)

    # then they are in order, and have the format of RFC 9562.
    assert created == sorted(set(created))
    assert {(id.version, id.variant) for id in created} == {(7, "specified in RFC 4122")}
    assert {id.int >> 80 for id in created} == {START_NS // 1_000_000}


def test_lowest_id_is_below_those_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "time", SimpleNamespace(time_ns=lambda: START_NS))

    assert ids.lowest_id(START_NS / 1e9 - 0.001) < ids.lowest_id(START_NS / 1e9) < ids.new_id()
