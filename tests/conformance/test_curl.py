"""curl, by the multipart request specification and with events."""

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
from tests.conformance.conftest import DOCUMENTS, STORY_S, Shop
from tests.support.npm import skip_or_fail

pytestmark = pytest.mark.acceptance


@pytest.fixture
def url(service: Service) -> str:
    if not shutil.which("curl"):
        skip_or_fail("curl")
    return f"{service.url}/graphql"


COMMAND = ("curl", "--silent", "--show-error", "--no-buffer", "--max-time", str(STORY_S))


def curl(*arguments: str) -> Any:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def operation(name: str, **variables: Any) -> str:
    return json.dumps({"query": DOCUMENTS[name], "variables": variables})


def body(name: str, **variables: Any) -> list[str]:
    return ["--header", "Content-Type: application/json", "--data", operation(name, **variables)]


def watched(url: str, go: str, id: str) -> Iterator[str]:
    """The events of an upload, line by line; its pictures come once somebody watches."""
    command = [*COMMAND, url, "--header", "Accept: text/event-stream", *body("progress", id=id)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "event: next\n":
                httpx.get(go)
            yield line
    assert process.returncode == 0


def test_curl(url: str, shop: Shop) -> None:
    # Given what curl can ask,
    query = curl(url, *body("query"))
    wrong = curl(url, *body("wrong"))
    refused = curl(url, *body("refused", input={"id": "nonsense"}))

    # when it uploads a file, and watches it by its events,
    form = (
        *("--form", f"operations={operation('upload', input={'file': None})}"),
        *("--form", 'map={"file": ["variables.input.file"]}'),
        *("--form", f"file=@{shop.csv};type=text/csv"),
    )
    bare = curl(url, *form)
    upload = curl(url, "--header", "GraphQL-Preflight: 1", *form)["data"]["uploadCsv"]
    lines = [*watched(url, shop.go, upload["request"]["id"])]

    # then it was told what every client is told.
    assert query == {"data": reports.QUERY}
    assert [error["extensions"]["code"] for error in wrong["errors"]] == reports.WRONG
    assert refused == {"data": reports.REFUSED}
    assert [error["extensions"]["code"] for error in bare["errors"]] == ["BAD_REQUEST"]
    reports.assert_accepted(upload)
    *states, end = "".join(lines).rstrip("\n").split("\n\n")
    assert end == "event: complete\ndata: "
    reports.assert_watched(
        [json.loads(state.removeprefix("event: next\ndata: "))["data"]["requestProgress"] for state in states]
    )
