"""While the database is locked, away or restarting, callers receive a coded error that says when to try again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import Connection, func, make_url, select, text

from gql_imgproc.database import engine
from gql_imgproc.database.tables import audit_events, requests
from gql_imgproc.errors import StorageError
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.requests.repository import create
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import input_key
from tests.graphql.client import Api, open_api, serve_api
from tests.graphql.live_server import PROGRESS, open_socket
from tests.support.api_keys import bearer, given_key
from tests.support.tcp_proxy import TcpProxy

CSV = b"S. No.,Product Name,Input Image Urls\n1,Chair,https://x.example/1.jpg\n"
DATABASE_ERROR = {
    "message": "The database is unavailable. Retry in 5 s.",
    "extensions": {"code": "SERVICE_UNAVAILABLE", "retryAfter": 5},
}
UPLOAD_FIELDS = "... on UploadCsvSuccess { replayed request { id } }"


class Outage:
    """Takes a database away: moves the SQLite file, or closes the way to PostgreSQL."""

    def __init__(self, url: str) -> None:
        self._proxy = None if url.startswith("sqlite") else TcpProxy(url)
        self._file = Path(make_url(url).database or "")
        self.url = self._proxy.url if self._proxy else url

    def begin(self) -> None:
        if self._proxy:
            self._proxy.refuse()
        else:
            self._file.rename(self._file.with_suffix(".moved"))

    def end(self) -> None:
        if self._proxy:
            self._proxy.open()
        else:
            assert not self._file.exists()
            self._file.with_suffix(".moved").rename(self._file)

    def close(self) -> None:
        if self._proxy:
            self._proxy.close()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr("gql_imgproc.runtime.RETRY_TIMEOUT_S", 0.1)
    monkeypatch.setattr(engine, "LOST_COMMIT_TIMEOUT_S", 0.1)


@pytest.fixture
def outage(database_url: str) -> Iterator[Outage]:
    opened = Outage(database_url)
    yield opened
    opened.close()


@pytest.fixture
def settings(outage: Outage, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        database_url=outage.url,
        redis_url=redis_url,
        data_dir=tmp_path,
        public_url="https://images.example",
        private_images=True,
    )


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with open_api(settings) as client:
        yield client


def without_path(response: httpx.Response) -> list[Any]:
    """The errors of a response, without their places in the document."""
    return [
        {name: value for name, value in error.items() if name in ("message", "extensions")}
        for error in response.json()["errors"]
    ]


def assert_unavailable(response: httpx.Response) -> None:
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert without_path(response) == [DATABASE_ERROR]


async def count_rows(runtime: Runtime) -> tuple[int, int]:
    """The numbers of requests and of audit events."""

    def count(connection: Connection) -> tuple[int, int]:
        tables = requests, audit_events
        found = [connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables]
        return found[0], found[1]

    return await runtime.db.read(count)


async def assert_nothing_left(runtime: Runtime) -> None:
    assert await count_rows(runtime) == (0, 0)
    assert await runtime.storage.list_keys("requests/") == []
    assert set(runtime.queue.lengths().values()) == {0}


async def test_upload_during_an_outage_is_refused_and_leaves_nothing(api: Api, outage: Outage) -> None:
    outage.begin()
    refused = await api.send_upload(CSV, UPLOAD_FIELDS)
    outage.end()

    assert_unavailable(refused)
    assert refused.json()["data"] is None
    await assert_nothing_left(api.runtime)
    # The service recovers without a restart.
    assert not (await api.upload(CSV, UPLOAD_FIELDS))["replayed"]
    assert await count_rows(api.runtime) == (1, 1)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_upload_while_the_database_is_locked_leaves_nothing(api: Api, outage: Outage) -> None:
    with sqlite3.connect(make_url(outage.url).database or "", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = await api.send_upload(CSV, UPLOAD_FIELDS)
        other.execute("ROLLBACK")
    other.close()

    assert_unavailable(refused)
    await assert_nothing_left(api.runtime)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("problem", ["PRAGMA query_only = ON", "PRAGMA max_page_count = 1"])
async def test_upload_to_an_unwritable_or_full_database_leaves_nothing(api: Api, problem: str) -> None:
    api.runtime.db.write_now(Connection.exec_driver_sql, problem)

    # Enough rows for new pages.
    rows = "".join(f"{n},Chair,https://x.example/{n}.jpg\n" for n in range(2, 250))
    assert_unavailable(await api.send_upload(CSV + rows.encode(), UPLOAD_FIELDS))
    await assert_nothing_left(api.runtime)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_upload_whose_session_is_terminated_leaves_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    insert = create.insert_first_chunk

    def insert_and_terminate(connection: Connection, *args: Any) -> Any:
        insert(connection, *args)
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    monkeypatch.setattr(create, "insert_first_chunk", insert_and_terminate)

    assert_unavailable(await api.send_upload(CSV, UPLOAD_FIELDS))
    await assert_nothing_left(api.runtime)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_upload_that_loses_its_connection_leaves_nothing(
    api: Api, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = create.insert_first_chunk

    def insert_and_disconnect(connection: Connection, *args: Any) -> Any:
        outage.begin()
        return insert(connection, *args)

    monkeypatch.setattr(create, "insert_first_chunk", insert_and_disconnect)

    assert_unavailable(await api.send_upload(CSV, UPLOAD_FIELDS))
    outage.end()
    await assert_nothing_left(api.runtime)


def lose_first_commit(
    runtime: Runtime, outage: Outage, monkeypatch: pytest.MonkeyPatch, outage_s: float | None = None
) -> None:
    """Lets the commit of the next upload succeed, and the database disappear before its answer, perhaps for a while."""
    dialect = runtime.db._writer.dialect
    commit = dialect.do_commit

    def lose_answer(connection: Any) -> None:
        commit(connection)
        dialect.do_commit = commit  # type: ignore[method-assign]
        outage.begin()
        if outage_s:
            Timer(outage_s, outage.end).start()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    insert = create.insert_first_chunk

    def insert_and_lose(connection: Connection, *args: Any) -> Any:
        # Only the first run: the upload runs again.
        monkeypatch.setattr(create, "insert_first_chunk", insert)
        dialect.do_commit = lose_answer  # type: ignore[method-assign]
        return insert(connection, *args)

    monkeypatch.setattr(create, "insert_first_chunk", insert_and_lose)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_upload_with_a_lost_commit_is_accepted_after_the_outage(
    api: Api, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than the outage. Without a lost commit the call would end after 0.1 s.
    monkeypatch.setattr(engine, "LOST_COMMIT_TIMEOUT_S", 30)
    lose_first_commit(api.runtime, outage, monkeypatch, outage_s=0.5)

    accepted = await api.upload(CSV, UPLOAD_FIELDS)

    assert not accepted["replayed"]
    assert await count_rows(api.runtime) == (1, 1)
    assert len(await api.runtime.storage.list_keys("requests/")) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_upload_of_unknown_outcome_keeps_its_csv_and_is_replayed(
    api: Api, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_first_commit(api.runtime, outage, monkeypatch)

    refused = await api.send_upload(CSV, UPLOAD_FIELDS, idempotencyKey="one")
    outage.end()
    repeated = await api.upload(CSV, UPLOAD_FIELDS, idempotencyKey="one")

    assert_unavailable(refused)
    assert repeated["replayed"]
    assert await count_rows(api.runtime) == (1, 1)
    (request_id,) = await api.runtime.db.read(lambda connection: connection.scalars(select(requests.c.id)).all())
    assert await api.runtime.storage.list_keys("requests/") == [input_key(request_id)]


@pytest.mark.parametrize("redis_url", ["redis://127.0.0.1:1/0"])
async def test_upload_without_redis_is_accepted(api: Api) -> None:
    """Promises P1 and P3."""
    assert not (await api.upload(CSV, UPLOAD_FIELDS))["replayed"]
    assert await count_rows(api.runtime) == (1, 1)


async def test_upload_without_the_object_store_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise StorageError("Could not store an object: it cannot be reached.")

    monkeypatch.setattr(api.runtime.storage, "put_file", fail)

    refused = await api.send_upload(CSV, UPLOAD_FIELDS)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    message = "The object store is unavailable. Retry in 5 s."
    assert without_path(refused) == [DATABASE_ERROR | {"message": message}]
    await assert_nothing_left(api.runtime)


REQUEST = f'"{encode_global_id(IdPrefix.REQUEST, new_id())}"'
OPERATIONS = [
    "{ requests(first: 1) { totalCount } }",
    f"mutation {{ cancelRequest(input: {{ id: {REQUEST} }}) {{ __typename }} }}",
    f"mutation {{ retryFailedImages(input: {{ id: {REQUEST} }}) {{ __typename }} }}",
    f"mutation {{ resendWebhook(input: {{ id: {REQUEST} }}) {{ __typename }} }}",
    f"mutation {{ deleteRequest(input: {{ id: {REQUEST} }}) {{ __typename }} }}",
]


async def test_operations_during_an_outage_may_be_retried(api: Api, outage: Outage) -> None:
    outage.begin()

    for operation in OPERATIONS:
        assert_unavailable(await api.http.post("/graphql", json={"query": operation}))
    # This media type requires 2xx for a response with `data`.
    headers = {"Accept": "application/graphql-response+json"}
    answer = await api.http.post("/graphql", json={"query": OPERATIONS[0]}, headers=headers)
    outage.end()

    assert (answer.status_code, answer.headers["retry-after"]) == (200, "5")
    assert without_path(answer) == [DATABASE_ERROR]


async def test_key_is_not_rejected_during_an_outage(settings: Settings, outage: Outage) -> None:
    async with serve_api(settings) as (host, app), open_socket(host, begin=False) as socket:
        key, _ = given_key(app.state.runtime.db)
        outage.begin()
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=10, trust_env=False) as client:
            answer = await client.post("/graphql", json={"query": "{ __typename }"}, headers=bearer(key))
        await socket.send(type="connection_init", payload=bearer(key))
        close_code = await socket.close_code()
        outage.end()

    assert_unavailable(answer)
    # Try again later: clients reconnect.
    assert close_code == 1013


async def test_subscription_during_an_outage_may_be_retried(settings: Settings, outage: Outage) -> None:
    request_id = encode_global_id(IdPrefix.REQUEST, new_id())
    body = {"query": PROGRESS, "variables": {"id": request_id}}
    async with (
        serve_api(settings) as (host, _),
        open_socket(host) as socket,
        httpx.AsyncClient(base_url=f"http://{host}", timeout=10, trust_env=False) as client,
    ):
        outage.begin()
        await socket.subscribe("a", PROGRESS, id=request_id)
        message = await socket.receive()
        stream = await client.post("/graphql", json=body, headers={"Accept": "text/event-stream"})
        outage.end()

    payload = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
    event = next(line for line in stream.text.splitlines() if line.startswith("data: {"))
    for errors in (payload, json.loads(event.removeprefix("data: "))["errors"]):
        assert [error["extensions"] for error in errors] == [DATABASE_ERROR["extensions"]]


async def test_downloads_during_an_outage_may_be_retried(api: Api, outage: Outage) -> None:
    request_id = new_id().hex

    outage.begin()
    paths = f"/api/download/{request_id}", f"/api/image/{request_id}/{request_id}-1.jpg"
    answers = [await api.http.get(path) for path in paths]
    outage.end()

    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json() == {"error": DATABASE_ERROR["message"]}
