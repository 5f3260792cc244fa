"""What can be done about a picture that does not come."""

from __future__ import annotations

import pytest

from gql_imgproc.net.fetch_errors import status_advice


@pytest.mark.parametrize(
    ("status", "begins"),
    [
        (401, "It does not give the picture to everybody."),
        (403, "It does not give the picture to everybody."),
        (404, "There is no picture at the address."),
        (410, "There is no picture at the address."),
        (418, "Open the address in a browser"),
        (302, "Open the address in a browser"),
        (408, "It may answer again later;"),
        (429, "It may answer again later;"),
        (503, "It may answer again later;"),
    ],
)
def test_a_status_comes_with_what_to_do(status: int, begins: str) -> None:
    assert status_advice(status).startswith(begins)
