"""curl, with multipart uploads and server-sent events."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import Service
from tests.conformance import reports
from tests.conformance.conftest import DOCUMENTS, SCENARIO_TIMEOUT_S, Shop
from tests.support.npm import skip_or_fail

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


@pytest.fixture
def url(service: Service) -> str:
    if not shutil.which("curl"):
        skip_or_fail("curl")
    return f"{service.url}/graphql"


COMMAND = ("curl", "--silent", "--show-error", "--no-buffer", "--max-time", str(SCENARIO_TIMEOUT_S))


def curl(*arguments: str) -> Any:
    process = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=True)
    return json.loads(process.stdout)


def operation(name: str, **variables: Any) -> str:
    return json.dumps({"query": DOCUMENTS[name], "variables": variables})


def body(name: str, **variables: Any) -> list[str]:
    return ["--header", "Content-Type: application/json", "--data", operation(name, **variables)]


def read_events(url: str, release_url: str, id: str) -> Iterator[str]:
    """The events of an upload, line by line; its images are released at the first event."""
    command = [*COMMAND, url, "--header", "Accept: text/event-stream", *body("progress", id=id)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "event: next\n":
                httpx.get(release_url)
            yield line
    assert process.returncode == 0


def test_curl(url: str, shop: Shop) -> None:
    # Given a query, an invalid one, and a mutation with a typed error,
    query = curl(url, *body("query"))
    invalid = curl(url, *body("invalid"))
    typed_error = curl(url, *body("typedError", input={"id": "nonsense"}))

    # when it uploads a file and reads its events,
    form = (
        *("--form", f"operations={operation('upload', input={'file': None})}"),
        *("--form", 'map={"file": ["variables.input.file"]}'),
        *("--form", f"file=@{shop.csv};type=text/csv"),
    )
    without_header = curl(url, *form)
    upload = curl(url, "--header", "GraphQL-Preflight: 1", *form)["data"]["uploadCsv"]
    lines = [*read_events(url, shop.release_url, upload["request"]["id"])]

    # then it receives what every client receives.
    assert query == {"data": reports.QUERY}
    assert [error["extensions"]["code"] for error in invalid["errors"]] == reports.INVALID_QUERY
    assert typed_error == {"data": reports.TYPED_ERROR}
    assert [error["extensions"]["code"] for error in without_header["errors"]] == ["BAD_REQUEST"]
    reports.assert_upload_accepted(upload)
    *states, end = "".join(lines).rstrip("\n").split("\n\n")
    assert end == "event: complete\ndata: "
    reports.assert_progress_complete(
        [json.loads(state.removeprefix("event: next\ndata: "))["data"]["requestProgress"] for state in states]
    )
