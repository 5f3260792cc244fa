"""Advice in the messages of failed downloads."""

from __future__ import annotations

import pytest

from gql_imgproc.net.fetch_errors import status_advice


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "The host denies access."),
        (403, "The host denies access."),
        (404, "There is no image at this URL."),
        (410, "There is no image at this URL."),
        (418, "Open the URL in a browser"),
        (302, "Open the URL in a browser"),
        (202, "The image is not ready yet;"),
        (423, "Open the URL in a browser"),
        (408, "The error may be temporary;"),
        (429, "The error may be temporary;"),
        (503, "The error may be temporary;"),
    ],
)
def test_each_status_has_advice(status: int, advice: str) -> None:
    assert status_advice(status).startswith(advice)
