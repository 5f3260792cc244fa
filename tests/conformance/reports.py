"""What every client must have been told."""

from __future__ import annotations

from typing import Any

import httpx

QUERY = {"limits": {"__typename": "ServerLimits", "maxPageSize": 100}}
WRONG = ["GRAPHQL_VALIDATION_FAILED"]
REFUSED = {"cancelRequest": {"__typename": "RequestNotFound"}}
STRAY = [["NOT_FOUND"]]


def assert_accepted(upload: Any) -> None:
    assert upload["__typename"] == "UploadCsvSuccess"
    assert (upload["request"]["csvFilename"], upload["request"]["totalImages"]) == ("shop.csv", 3)


def assert_watched(progress: list[Any]) -> None:
    """From before the first picture to the end, nothing twice, and what the end promises is there."""
    first, last = progress[0], progress[-1]
    assert first["status"] in ("PENDING", "PROCESSING")
    assert (first["processedImages"], first["outputCsvUrl"]) == (0, None)
    numbers = [event["sequence"] for event in progress]
    assert numbers == sorted(set(numbers))
    assert [event["status"] for event in progress].index("COMPLETED") == len(progress) - 1
    assert last["processedImages"] == 3
    assert httpx.get(last["outputCsvUrl"]).text.count("/api/image/") == 3
