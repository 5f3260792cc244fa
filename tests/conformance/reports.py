"""What every client must receive."""

from __future__ import annotations

from typing import Any

import httpx

QUERY = {"limits": {"__typename": "ServerLimits", "maxPageSize": 100}}
INVALID_QUERY = ["GRAPHQL_VALIDATION_FAILED"]
TYPED_ERROR = {"cancelRequest": {"__typename": "RequestNotFound"}}
UNKNOWN_REQUEST = [["NOT_FOUND"]]


def assert_upload_accepted(upload: Any) -> None:
    assert upload["__typename"] == "UploadCsvSuccess"
    assert (upload["request"]["csvFilename"], upload["request"]["totalImages"]) == ("shop.csv", 3)


def assert_progress_complete(progress: list[Any]) -> None:
    """From before the first image to the final state, without duplicates, and with a complete output CSV."""
    first, last = progress[0], progress[-1]
    assert first["status"] in ("PENDING", "PROCESSING")
    assert (first["processedImages"], first["outputCsvUrl"]) == (0, None)
    numbers = [event["sequence"] for event in progress]
    assert numbers == sorted(set(numbers))
    assert [event["status"] for event in progress].index("COMPLETED") == len(progress) - 1
    assert last["processedImages"] == 3
    assert httpx.get(last["outputCsvUrl"]).text.count("/api/image/") == 3
