"""Who is told the schema: the real command, listening for its own machine and for others."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gql_imgproc.standalone.preflight import check_port
from tests.acceptance.conftest import COMMAND, environment
from tests.acceptance.test_separate_processes import wait_until_ready

pytestmark = pytest.mark.acceptance

SCHEMA = {"query": "{ __schema { queryType { name } } }"}
NOT_TOLD = (
    "This service does not tell its schema. It stands in the project's `schema.graphql`; "
    "whoever runs the service can have it told with IMGPROC_INTROSPECTION=on."
)
NO_GRAPHIQL = "There is no GraphiQL here. Whoever runs the service can switch it on with IMGPROC_INTROSPECTION=on."
EVERYWHERE = ("--host", "0.0.0.0", "--allow-anonymous")


@contextmanager
def api(folder: Path, redis_url: str, *arguments: str, **settings: str) -> Iterator[str]:
    port = check_port("127.0.0.1", 0)
    ours = environment(REDIS_URL=redis_url, DATA_DIR=str(folder / "data"), **settings)
    subprocess.run([*COMMAND, "migrate"], env=ours, capture_output=True, timeout=60, check=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*COMMAND, "api", "--port", str(port), *arguments], env=ours, stdout=log, stderr=log)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}/graphql"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (folder / "log").read_text()


def asked(url: str) -> tuple[dict[str, Any], str]:
    """The schema as it is told, and the page that a browser gets."""
    told: dict[str, Any] = httpx.post(url, json=SCHEMA, trust_env=False).json()
    return told, httpx.get(url, headers={"Accept": "text/html"}, trust_env=False).text


def test_other_machines_are_told_no_schema(redis_url: str, tmp_path: Path) -> None:
    with api(tmp_path, redis_url, *EVERYWHERE) as url:
        told, page = asked(url)

    assert told == {"errors": [{"message": NOT_TOLD, "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}
    assert NO_GRAPHIQL in page


@pytest.mark.parametrize(("arguments", "settings"), [(EVERYWHERE, {"INTROSPECTION": "on"}), ((), {})])
def test_it_is_told_where_that_is_switched_on_and_on_this_machine(
    redis_url: str, tmp_path: Path, arguments: tuple[str, ...], settings: dict[str, str]
) -> None:
    with api(tmp_path, redis_url, *arguments, **settings) as url:
        told, page = asked(url)

    assert told == {"data": {"__schema": {"queryType": {"name": "Query"}}}}
    # In a checkout whose page was not built, that is what it says.
    assert "<title>GraphiQL" in page or "The web page is not built." in page


def test_it_can_be_switched_off_on_this_machine(redis_url: str, tmp_path: Path) -> None:
    with api(tmp_path, redis_url, INTROSPECTION="off") as url:
        told, page = asked(url)

    assert told["errors"][0]["message"] == NOT_TOLD
    assert NO_GRAPHIQL in page
