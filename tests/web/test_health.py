"""The routes `/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.settings import Settings
from gql_imgproc.storage import store_check
from gql_imgproc.storage.object_store import ObjectStore
from gql_imgproc.storage.store_marker import MARKER_KEY
from gql_imgproc.system.process import STARTED_BY_HEADER
from gql_imgproc.web import health
from tests.graphql.client import Api, open_api
from tests.support.scenarios import given_request


async def test_ready_when_all_dependencies_work(api: Api) -> None:
    alive = await api.http.get("/healthz")
    ready = await api.http.get("/readyz")

    assert (alive.status_code, alive.text) == (200, "ok\n")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "missing": {}, "warnings": {}})
    assert STARTED_BY_HEADER not in ready.headers


async def test_readiness_names_the_process_that_started_the_api(api: Api) -> None:
    api.app.state.started_by = "a token"

    ready = await api.http.get("/readyz")

    assert ready.headers[STARTED_BY_HEADER] == "a token"


async def test_not_ready_lists_the_missing_dependencies(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path,
        redis_url=f"unix://{tmp_path}/nothing",
        storage_url=f"file://{tmp_path}/file/objects",
    )

    async with open_api(settings) as api:
        alive = await api.http.get("/healthz")
        ready = await api.http.get("/readyz")

    assert alive.status_code == 200
    assert ready.status_code == 503
    assert list(ready.json()["missing"]) == ["database", "redis", "storage"]
    assert "gql-imgproc migrate" in ready.json()["missing"]["database"]


async def test_missing_dependency_is_logged_once_until_it_changes(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(store: ObjectStore) -> None:
        raise ConfigurationError("The object store is gone.")

    def lines() -> list[tuple[str, str | None]]:
        own = [record for record in caplog.records if record.name == health.log.name]
        return [(record.getMessage(), getattr(record, "storage", None)) for record in own]

    caplog.set_level("INFO")
    check = store_check.check_writable
    for _ in range(3):
        await api.http.get("/readyz")
    assert lines() == []

    monkeypatch.setattr(store_check, "check_writable", fail)
    for _ in range(3):
        assert (await api.http.get("/readyz")).status_code == 503
    assert lines() == [("not ready", "The object store is gone.")]

    monkeypatch.setattr(store_check, "check_writable", check)
    for _ in range(3):
        assert (await api.http.get("/readyz")).status_code == 200
    assert lines() == [("not ready", "The object store is gone."), ("ready again", None)]


async def test_store_of_another_database_is_a_warning(api: Api) -> None:
    assert "imgproc_store_unconfirmed 0.0" in (await api.http.get("/metrics")).text
    await api.runtime.storage.put(MARKER_KEY, b"{}", "application/json")

    ready = await api.http.get("/readyz")
    text = (await api.http.get("/metrics")).text

    # Uploads are accepted.
    assert (ready.status_code, ready.json()["ready"], ready.json()["missing"]) == (200, True, {})
    assert ready.json()["warnings"]["storage"].startswith(
        "Nothing is deleted from the object store: its marker names another database. "
    )
    assert "imgproc_store_unconfirmed 1.0" in text


async def test_hanging_check_times_out(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(store_check, "check_writable", lambda store: asyncio.sleep(30))

    ready = await api.http.get("/readyz")

    assert ready.status_code == 503
    assert ready.json()["missing"]["storage"] == "No response within 0.01 s."


async def test_metrics_include_responses_by_route_and_the_whole_service(api: Api) -> None:
    given_request(api.runtime.db, 1)
    await api.http.get("/api/image/whatever")

    text = (await api.http.get("/metrics")).text

    assert 'imgproc_requests_open{status="PENDING"} 1.0' in text
    assert "imgproc_images_claimable 1.0" in text
    assert "imgproc_workers 0.0" in text
    assert 'imgproc_backend_up{backend="redis"} 1.0' in text
    assert 'imgproc_queue_messages{queue="images"} 0.0' in text
    assert 'imgproc_http_requests_total{method="GET",route="/api/image/{key:path}",status="404"}' in text
    assert "whatever" not in text


async def test_metrics_that_cannot_be_read_are_omitted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise ConnectionError("Redis is unreachable.")

    given_request(api.runtime.db, 1)
    assert 'imgproc_queue_messages{queue="images"} 0.0' in (await api.http.get("/metrics")).text
    monkeypatch.setattr(api.runtime.queue, "lengths", fail)

    response = await api.http.get("/metrics")

    assert response.status_code == 200
    assert "imgproc_queue_messages" not in response.text
    assert 'imgproc_backend_up{backend="redis"} 0.0' in response.text
    assert 'imgproc_backend_up{backend="database"} 1.0' in response.text
    assert 'imgproc_requests_open{status="PENDING"} 1.0' in response.text
