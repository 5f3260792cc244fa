"""curl, by the multipart request specification and with events."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from typing import Any

import httpx
import pytest

from ..acceptance.conftest import Service
from . import told
from .conftest import DOCUMENTS, STORY_S, Shop, lacking

pytestmark = pytest.mark.acceptance


@pytest.fixture
def url(service: Service) -> str:
    if not shutil.which("curl"):
        lacking("curl")
    return f"{service.url}/graphql"


def curl(*arguments: str) -> str:
    command = ["curl", "--silent", "--show-error", "--no-buffer", "--max-time", str(STORY_S), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def operation(name: str, **variables: Any) -> str:
    return json.dumps({"query": DOCUMENTS[name], "variables": variables})


def post(url: str, name: str, *more: str, **variables: Any) -> str:
    return curl(url, "--header", "Content-Type: application/json", "--data", operation(name, **variables), *more)


def test_curl(url: str, shop: Shop) -> None:
    # Given what curl can ask,
    query = json.loads(post(url, "query"))
    wrong = json.loads(post(url, "wrong"))
    refused = json.loads(post(url, "refused", input={"id": "nonsense"}))

    # when it uploads a file,
    form = (
        *("--form", f"operations={operation('upload', input={'file': None})}"),
        *("--form", 'map={"file": ["variables.input.file"]}'),
        *("--form", f"file=@{shop.csv};type=text/csv"),
    )
    bare = json.loads(curl(url, *form))
    upload = json.loads(curl(url, "--header", "GraphQL-Preflight: 1", *form))["data"]["uploadCsv"]

    # and watches it, as events: the pictures come while it does;
    letting_go = threading.Timer(0.5, httpx.get, [shop.go])
    letting_go.start()
    events = post(url, "progress", "--header", "Accept: text/event-stream", id=upload["request"]["id"])
    letting_go.join()

    # then it was told what every client is told.
    assert query == {"data": told.QUERY}
    assert [error["extensions"]["code"] for error in wrong["errors"]] == told.WRONG
    assert refused == {"data": told.REFUSED}
    assert [error["extensions"]["code"] for error in bare["errors"]] == ["BAD_REQUEST"]
    told.assert_accepted(upload)
    *states, end = [event for event in events.split("\n\n") if event.startswith("event: ")]
    assert end == "event: complete\ndata: "
    told.assert_watched(
        [json.loads(state.removeprefix("event: next\ndata: "))["data"]["requestProgress"] for state in states]
    )
