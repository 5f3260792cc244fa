"""Introspection of the real command, listening on loopback and for other machines."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import COMMAND, environment
from tests.acceptance.test_separate_processes import wait_until_ready
from tests.support.free_port import free_port

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

SCHEMA = {"query": "{ __schema { queryType { name } } }"}
INTROSPECTION_DISABLED = (
    "Introspection is disabled. See schema.graphql in the repository, or set IMGPROC_INTROSPECTION=on on the server."
)
NO_GRAPHIQL = "GraphiQL is disabled. The operator can enable it with IMGPROC_INTROSPECTION=on."
ALL_INTERFACES = ("--host", "0.0.0.0", "--allow-anonymous")


@contextmanager
def api(folder: Path, redis_url: str, *arguments: str, **settings: str) -> Iterator[str]:
    port = free_port()
    variables = environment(REDIS_URL=redis_url, DATA_DIR=str(folder / "data"), **settings)
    subprocess.run([*COMMAND, "migrate"], env=variables, capture_output=True, timeout=60, check=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMAND, "api", "--port", str(port), *arguments], env=variables, stdout=log, stderr=log
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}/graphql"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (folder / "log").read_text()


def introspect(url: str) -> tuple[dict[str, Any], str]:
    """The response to an introspection query, and the page that a browser gets."""
    response: dict[str, Any] = httpx.post(url, json=SCHEMA, trust_env=False).json()
    return response, httpx.get(url, headers={"Accept": "text/html"}, trust_env=False).text


def test_introspection_is_disabled_for_other_machines(redis_url: str, tmp_path: Path) -> None:
    with api(tmp_path, redis_url, *ALL_INTERFACES) as url:
        response, page = introspect(url)

    assert response == {
        "errors": [{"message": INTROSPECTION_DISABLED, "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]
    }
    assert NO_GRAPHIQL in page


@pytest.mark.parametrize(("arguments", "settings"), [(ALL_INTERFACES, {"INTROSPECTION": "on"}), ((), {})])
def test_introspection_is_enabled_by_setting_and_on_loopback(
    redis_url: str, tmp_path: Path, arguments: tuple[str, ...], settings: dict[str, str]
) -> None:
    with api(tmp_path, redis_url, *arguments, **settings) as url:
        response, page = introspect(url)

    assert response == {"data": {"__schema": {"queryType": {"name": "Query"}}}}
    # In a checkout without a built page, the response says so.
    assert "<title>GraphiQL" in page or "The web page is not built." in page


def test_introspection_can_be_disabled_on_loopback(redis_url: str, tmp_path: Path) -> None:
    with api(tmp_path, redis_url, INTROSPECTION="off") as url:
        response, page = introspect(url)

    assert response["errors"][0]["message"] == INTROSPECTION_DISABLED
    assert NO_GRAPHIQL in page
