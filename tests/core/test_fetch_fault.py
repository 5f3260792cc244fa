from __future__ import annotations

from gql_imgproc.core.fetch_fault import FetchFault


def test_statuses_that_may_be_others_a_moment_later_are_408_425_429_and_5xx() -> None:
    temporary = {status for status in range(100, 1_000) if FetchFault.of_status(status).value.temporary}

    assert temporary == {408, 425, 429, *range(500, 600)}


def test_every_row_is_one_of_its_own() -> None:
    # Rows that were equal would be one member of the enum under two names.
    assert len(FetchFault) == len(FetchFault.__members__) == len({fault.value.meaning for fault in FetchFault})
