"""Authentication over HTTP, WebSockets and streams, and the end of sessions when a key is revoked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from sqlalchemy import Connection

from gql_imgproc.access import key_repository
from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.graphql import http
from gql_imgproc.ids import DEFAULT_TENANT, IdPrefix, encode_global_id
from gql_imgproc.security.scopes import Scope
from gql_imgproc.settings import Settings
from tests.graphql.client import error_of, open_api, serve_api
from tests.graphql.live_server import PROGRESS, given_upload
from tests.support.api_keys import bearer, given_key

REQUESTS = "{ requests { totalCount } }"
EMPTY = {"data": {"requests": {"totalCount": 0}}}
REQUIRED = "An API key is required. Send it as `Authorization: Bearer gip_…`."
UNKNOWN = "Invalid API key. It is not known. Check that it was copied completely."
EXPIRED = "The API key has expired or was revoked, or this server now requires one."


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(_env_file=None, database_url=sqlite_url, redis_url=redis_url, data_dir=tmp_path)


async def execute(
    http: httpx.AsyncClient, headers: dict[str, str] | None = None, query: str = REQUESTS
) -> httpx.Response:
    return await http.post("/graphql", json={"query": query}, headers=headers)


async def test_while_no_key_allows_anonymous_callers_until_a_key_exists(settings: Settings) -> None:
    async with open_api(settings, anonymous=AnonymousAccess.WHILE_NO_KEY) as api:
        before = await execute(api.http)
        key, _ = given_key(api.runtime.db)
        # At once: nothing is remembered.
        without_key = await execute(api.http)
        with_key = await execute(api.http, bearer(key))

    assert before.json() == EMPTY
    assert error_of(without_key) == (401, "UNAUTHENTICATED", REQUIRED)
    assert without_key.headers["www-authenticate"] == 'Bearer realm="gql-imgproc"'
    assert with_key.json() == EMPTY


@pytest.mark.parametrize(
    ("anonymous", "has_keys", "status"),
    [
        (AnonymousAccess.NEVER, False, 401),
        (AnonymousAccess.NEVER, True, 401),
        (AnonymousAccess.WHILE_NO_KEY, True, 401),
        (AnonymousAccess.ALWAYS, False, 200),
        (AnonymousAccess.ALWAYS, True, 200),
    ],
)
async def test_anonymous_setting_decides_who_needs_a_key(
    settings: Settings, anonymous: AnonymousAccess, has_keys: bool, status: int
) -> None:
    async with open_api(settings, anonymous=anonymous) as api:
        if has_keys:
            given_key(api.runtime.db)

        response = await execute(api.http)

    assert response.status_code == status


async def test_invalid_key_is_rejected_with_the_reason(settings: Settings) -> None:
    async with open_api(settings, anonymous=AnonymousAccess.ALWAYS) as api:
        db = api.runtime.db
        valid, _ = given_key(db)
        expired, _ = given_key(db, expires_at=datetime.now(UTC) - timedelta(seconds=1))
        revoked, revoked_id = given_key(db)
        db.write_now(key_repository.revoke, DEFAULT_TENANT, revoked_id)
        wrong_secret = valid[:-1] + ("a" if valid[-1] != "a" else "b")
        unknown_id = valid[:4] + "x" * 12 + valid[16:]
        messages = {
            f"Bearer {wrong_secret}": UNKNOWN,
            f"Bearer {unknown_id}": UNKNOWN,
            f"Bearer {revoked}": "Invalid API key. It was revoked. Ask for another one.",
            f"Bearer {expired}": "Invalid API key. It has expired. Ask for another one.",
            "Bearer nonsense": f"{UNKNOWN[:16]} API keys of this service begin with gip_.",
            "Basic Z2lwOg==": "Invalid API key. Send it as `Authorization: Bearer gip_…`.",
            "": "Invalid API key. Send it as `Authorization: Bearer gip_…`.",
        }
        for header, message in messages.items():
            # Even where anonymous callers are allowed.
            response = await execute(api.http, {"Authorization": header})
            assert error_of(response) == (401, "UNAUTHENTICATED", message)
        assert (await execute(api.http, {"Authorization": f"bearer {valid}"})).json() == EMPTY


async def test_upload_is_rejected_before_its_body_is_read(settings: Settings) -> None:
    async with open_api(settings, anonymous=AnonymousAccess.NEVER) as api:
        chunks_sent = 0

        async def endless() -> Any:
            nonlocal chunks_sent
            while True:
                chunks_sent += 1
                yield b"x" * 65536

        response = await api.http.post(
            "/graphql",
            headers={"Content-Type": "multipart/form-data; boundary=b", "GraphQL-Preflight": "1"},
            content=endless(),
        )
        assert error_of(response) == (401, "UNAUTHENTICATED", REQUIRED)
        assert chunks_sent <= 1


@pytest.mark.parametrize(
    ("scopes", "query", "missing"),
    [
        ((Scope.WRITE,), REQUESTS, "`requests` requires an API key with the scope READ."),
        ((Scope.READ,), 'mutation { cancelRequest(input: {id: "x"}) { __typename } }', "WRITE"),
        ((Scope.ADMIN,), "query { ...f } fragment f on Query { a: requests { totalCount } }", "READ"),
        ((Scope.READ,), REQUESTS, None),
        ((Scope.WRITE,), 'mutation { cancelRequest(input: {id: "x"}) { __typename } }', None),
        ((Scope.WRITE,), "{ limits { maxImages } __typename }", None),
    ],
)
async def test_operation_requires_the_scope_of_its_root_fields(
    settings: Settings, scopes: tuple[Scope, ...], query: str, missing: str | None
) -> None:
    async with open_api(settings) as api:
        key, _ = given_key(api.runtime.db, DEFAULT_TENANT, *scopes)
        response = await execute(api.http, bearer(key), query)

    if missing is None:
        assert "errors" not in response.json()
    else:
        (error,) = response.json()["errors"]
        assert error["extensions"]["code"] == "FORBIDDEN"
        assert missing in error["message"]
        assert not response.json().get("data")


async def test_last_use_of_a_key_is_recorded(settings: Settings) -> None:
    async with open_api(settings) as api:
        key, _ = given_key(api.runtime.db)
        public_id = key.split("_")[1]
        before = api.runtime.db.read_now(key_repository.find_by_public_id, public_id)
        await execute(api.http, bearer(key))
        first = api.runtime.db.read_now(key_repository.find_by_public_id, public_id)
        await execute(api.http, bearer(key))
        second = api.runtime.db.read_now(key_repository.find_by_public_id, public_id)

    assert before.key.last_used_at is None
    assert abs(first.key.last_used_at - datetime.now(UTC)) < timedelta(seconds=20)
    # At most once a minute, so that a read does not cost a write.
    assert second.key.last_used_at == first.key.last_used_at


def connect(host: str) -> Any:
    return websockets.connect(f"ws://{host}/graphql", subprotocols=["graphql-transport-ws"])  # type: ignore[list-item]


async def init(socket: Any, payload: Any) -> dict[str, Any]:
    await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
    return dict(json.loads(await socket.recv()))


async def read_until_closed(socket: Any) -> None:
    while True:
        await socket.recv()


@pytest.mark.parametrize("field", ["Authorization", "authorization"])
async def test_websocket_is_authenticated_by_its_first_message(settings: Settings, field: str) -> None:
    async with serve_api(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        key, _ = given_key(app.state.runtime.db)
        async with connect(host) as socket:
            assert await init(socket, {field: f"Bearer {key}"}) == {"type": "connection_ack"}
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": REQUESTS}}))
            assert json.loads(await socket.recv())["payload"] == EMPTY
        for payload, reason in (({}, REQUIRED), ({"Authorization": 5}, "Bearer"), (bearer(key[:-1]), "gip_")):
            async with connect(host) as socket:
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await init(socket, payload)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4403
                assert reason in closed.value.rcvd.reason


async def test_revoked_key_closes_its_open_sockets_and_streams(settings: Settings) -> None:
    async with serve_api(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        runtime = app.state.runtime
        request = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
        revoked, revoked_id = given_key(runtime.db)
        valid, _ = given_key(runtime.db)
        subscription = {"query": PROGRESS, "variables": {"id": request}}
        async with (
            connect(host) as idle,
            connect(host) as watching,
            connect(host) as other,
            httpx.AsyncClient(base_url=f"http://{host}", timeout=10) as http,
            http.stream(
                "POST",
                "/graphql",
                json=subscription,
                headers=bearer(revoked) | {"Accept": "text/event-stream"},
            ) as events,
        ):
            for socket, key in ((idle, revoked), (watching, revoked), (other, valid)):
                assert await init(socket, bearer(key)) == {"type": "connection_ack"}
            for socket in (watching, other):
                await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": subscription}))
                assert json.loads(await socket.recv())["type"] == "next"
            lines = events.aiter_lines()
            while "data: " not in await anext(lines):
                pass

            runtime.db.write_now(key_repository.revoke, DEFAULT_TENANT, revoked_id)
            await app.state.app_state.refresh_keys()

            rest = [line async for line in lines]
            for socket in (idle, watching):
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await read_until_closed(socket)
                assert closed.value.rcvd is not None
                assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4403, EXPIRED)
            await other.send(json.dumps({"id": "2", "type": "subscribe", "payload": {"query": REQUESTS}}))
            assert json.loads(await other.recv())["payload"] == {"data": {"requests": {"totalCount": 1}}}
        (event,) = [json.loads(line.removeprefix("data: ")) for line in rest if line.startswith("data: {")]
        assert event["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_equal_subscriptions_are_shared_per_tenant_and_scopes(settings: Settings) -> None:
    async with serve_api(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        runtime = app.state.runtime
        request = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
        payload = {"query": PROGRESS, "variables": {"id": request}}
        readers = [given_key(runtime.db, DEFAULT_TENANT, Scope.READ)[0] for _ in range(2)]
        admin, _ = given_key(runtime.db)
        async with connect(host) as one, connect(host) as two, connect(host) as three:
            for socket, key in zip((one, two, three), (*readers, admin), strict=True):
                await init(socket, bearer(key))
                await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
                assert json.loads(await socket.recv())["type"] == "next"
            assert len(app.state.app_state.shared_subscriptions._executions) == 2


async def test_first_key_ends_anonymous_operations_on_an_open_socket(settings: Settings) -> None:
    async with serve_api(settings, anonymous=AnonymousAccess.WHILE_NO_KEY) as (host, app), connect(host) as socket:
        await init(socket, {})
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": REQUESTS}}))
        assert json.loads(await socket.recv())["payload"] == EMPTY
        assert json.loads(await socket.recv())["type"] == "complete"

        given_key(app.state.runtime.db)

        await socket.send(json.dumps({"id": "2", "type": "subscribe", "payload": {"query": REQUESTS}}))
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await read_until_closed(socket)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4403, EXPIRED)


async def test_revoked_key_starts_no_operation_on_an_open_socket(settings: Settings) -> None:
    async with serve_api(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        db = app.state.runtime.db
        revoked, revoked_id = given_key(db)
        async with connect(host) as socket:
            await init(socket, bearer(revoked))
            db.write_now(key_repository.revoke, DEFAULT_TENANT, revoked_id)
            mutation = 'mutation { createApiKey(input: {name: "stolen", scopes: [ADMIN]}) { __typename } }'
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": mutation}}))
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await read_until_closed(socket)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4403, EXPIRED)
        assert db.read_now(key_repository.count_keys, DEFAULT_TENANT) == 1


@pytest.mark.parametrize("multipart", [False, True])
async def test_key_revoked_during_the_body_is_rejected(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, multipart: bool
) -> None:
    monkeypatch.setattr(http, "SLOW_BODY_SECONDS", 0)
    operation = json.dumps(
        {"query": 'mutation { createApiKey(input: {name: "stolen", scopes: [ADMIN]}) { __typename } }'}
    )
    part = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    body = part.format("operations", operation) + part.format("map", "{}") + "--x--\r\n" if multipart else operation
    content_type = "multipart/form-data; boundary=x" if multipart else "application/json"

    async with serve_api(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        db = app.state.runtime.db
        revoked, revoked_id = given_key(db)

        def last_used(connection: Connection) -> datetime | None:
            found = key_repository.get_key(connection, DEFAULT_TENANT, revoked_id)
            return found.last_used_at if found else None

        async def content() -> AsyncIterator[bytes]:
            yield body[:20].encode()
            # Wait until the key was accepted, which records its use.
            while not db.read_now(last_used):  # noqa: ASYNC110 - another thread records it
                await asyncio.sleep(0.02)
            db.write_now(key_repository.revoke, DEFAULT_TENANT, revoked_id)
            yield body[20:].encode()

        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=10) as client:
            headers = bearer(revoked) | {"Content-Type": content_type, "GraphQL-Preflight": "1"}
            response = await client.post("/graphql", content=content(), headers=headers)
        assert error_of(response) == (401, "UNAUTHENTICATED", EXPIRED)
        assert db.read_now(key_repository.count_keys, DEFAULT_TENANT) == 1
