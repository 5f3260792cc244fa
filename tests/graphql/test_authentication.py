"""Who is let in: over HTTP, over sockets, over streams; and who has to leave."""

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
from tests.graphql.client import error_of, opened, served
from tests.graphql.live_server import PROGRESS, given_upload
from tests.support.api_keys import bearer, given_key

REQUESTS = "{ requests { totalCount } }"
COUNTED = {"data": {"requests": {"totalCount": 0}}}
ASKED = "An API key is required. Send it as `Authorization: Bearer gip_…`."
UNKNOWN = "Invalid API key. It is not known. Check that it was copied completely."
OVER = "The API key is not good any more, or one is asked for now."


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(_env_file=None, database_url=sqlite_url, redis_url=redis_url, data_dir=tmp_path)


async def ask(http: httpx.AsyncClient, headers: dict[str, str] | None = None, query: str = REQUESTS) -> httpx.Response:
    return await http.post("/graphql", json={"query": query}, headers=headers)


async def test_on_a_laptop_nobody_is_asked_until_there_is_a_key(settings: Settings) -> None:
    async with opened(settings, anonymous=AnonymousAccess.WHILE_NO_KEY) as api:
        before = await ask(api.http)
        key, _ = given_key(api.runtime.db)
        await api.app.state.app_state.refresh_keys()
        without = await ask(api.http)
        with_key = await ask(api.http, bearer(key))

    assert before.json() == COUNTED
    assert error_of(without) == (401, "UNAUTHENTICATED", ASKED)
    assert without.headers["www-authenticate"] == 'Bearer realm="gql-imgproc"'
    assert with_key.json() == COUNTED


@pytest.mark.parametrize(
    ("anonymous", "keys_there", "status"),
    [
        (AnonymousAccess.NEVER, False, 401),
        (AnonymousAccess.NEVER, True, 401),
        (AnonymousAccess.WHILE_NO_KEY, True, 401),
        (AnonymousAccess.ALWAYS, False, 200),
        (AnonymousAccess.ALWAYS, True, 200),
    ],
)
def test_who_needs_a_key(settings: Settings, anonymous: AnonymousAccess, keys_there: bool, status: int) -> None:
    async def story() -> int:
        async with opened(settings, anonymous=anonymous) as api:
            if keys_there:
                given_key(api.runtime.db)
                await api.app.state.app_state.refresh_keys()
            return (await ask(api.http)).status_code

    assert asyncio.run(story()) == status


async def test_a_key_that_is_not_good_is_refused_and_told_why(settings: Settings) -> None:
    async with opened(settings, anonymous=AnonymousAccess.ALWAYS) as api:
        db = api.runtime.db
        good, _ = given_key(db)
        expired, _ = given_key(db, expires_at=datetime.now(UTC) - timedelta(seconds=1))
        revoked, revoked_id = given_key(db)
        db.write_now(key_repository.revoke, DEFAULT_TENANT, revoked_id)
        wrong = good[:-1] + ("a" if good[-1] != "a" else "b")
        unknown = good[:4] + "x" * 12 + good[16:]
        said = {
            f"Bearer {wrong}": UNKNOWN,
            f"Bearer {unknown}": UNKNOWN,
            f"Bearer {revoked}": "Invalid API key. It was revoked. Ask for another one.",
            f"Bearer {expired}": "Invalid API key. It has expired. Ask for another one.",
            "Bearer nonsense": f"{UNKNOWN[:16]} It is not an API key of this service: those begin with gip_.",
            "Basic Z2lwOg==": "Invalid API key. Send it as `Authorization: Bearer gip_…`.",
            "": "Invalid API key. Send it as `Authorization: Bearer gip_…`.",
        }
        for header, message in said.items():
            # Also where callers without a key are let in: who presents one means it.
            refused = await ask(api.http, {"Authorization": header})
            assert error_of(refused) == (401, "UNAUTHENTICATED", message)
        assert (await ask(api.http, {"Authorization": f"bearer {good}"})).json() == COUNTED


async def test_an_upload_is_refused_before_its_body_is_read(settings: Settings) -> None:
    async with opened(settings, anonymous=AnonymousAccess.NEVER) as api:
        sent = 0

        async def endless() -> Any:
            nonlocal sent
            while True:
                sent += 1
                yield b"x" * 65536

        refused = await api.http.post(
            "/graphql",
            headers={"Content-Type": "multipart/form-data; boundary=b", "GraphQL-Preflight": "1"},
            content=endless(),
        )
        assert error_of(refused) == (401, "UNAUTHENTICATED", ASKED)
        assert sent <= 1


@pytest.mark.parametrize(
    ("scopes", "query", "missing"),
    [
        ((Scope.WRITE,), REQUESTS, "`requests` needs an API key with the scope READ."),
        ((Scope.READ,), 'mutation { cancelRequest(input: {id: "x"}) { __typename } }', "WRITE"),
        ((Scope.ADMIN,), "query { ...f } fragment f on Query { a: requests { totalCount } }", "READ"),
        ((Scope.READ,), REQUESTS, None),
        ((Scope.WRITE,), 'mutation { cancelRequest(input: {id: "x"}) { __typename } }', None),
        ((Scope.WRITE,), "{ limits { maxImages } __typename }", None),
    ],
)
async def test_a_key_is_good_for_its_scopes_alone(
    settings: Settings, scopes: tuple[Scope, ...], query: str, missing: str | None
) -> None:
    async with opened(settings) as api:
        key, _ = given_key(api.runtime.db, DEFAULT_TENANT, *scopes)
        answer = await ask(api.http, bearer(key), query)

    if missing is None:
        assert "errors" not in answer.json()
    else:
        (error,) = answer.json()["errors"]
        assert error["extensions"]["code"] == "FORBIDDEN"
        assert missing in error["message"]
        assert not answer.json().get("data")


async def test_the_use_of_a_key_is_noted(settings: Settings) -> None:
    async with opened(settings) as api:
        key, _ = given_key(api.runtime.db)
        public_id = key.split("_")[1]
        before = api.runtime.db.read_now(key_repository.find_by_public_id, public_id)
        await ask(api.http, bearer(key))
        first = api.runtime.db.read_now(key_repository.find_by_public_id, public_id)
        await ask(api.http, bearer(key))
        second = api.runtime.db.read_now(key_repository.find_by_public_id, public_id)

    assert before.key.last_used_at is None
    assert abs(first.key.last_used_at - datetime.now(UTC)) < timedelta(seconds=20)
    # To the minute: reading must not cost a write each time.
    assert second.key.last_used_at == first.key.last_used_at


def connect(host: str) -> Any:
    return websockets.connect(f"ws://{host}/graphql", subprotocols=["graphql-transport-ws"])  # type: ignore[list-item]


async def greet(socket: Any, payload: Any) -> dict[str, Any]:
    await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
    return dict(json.loads(await socket.recv()))


async def read_to_the_end(socket: Any) -> None:
    while True:
        await socket.recv()


@pytest.mark.parametrize("field", ["Authorization", "authorization"])
async def test_a_socket_brings_its_key_in_its_first_message(settings: Settings, field: str) -> None:
    async with served(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        key, _ = given_key(app.state.runtime.db)
        async with connect(host) as socket:
            assert await greet(socket, {field: f"Bearer {key}"}) == {"type": "connection_ack"}
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": REQUESTS}}))
            assert json.loads(await socket.recv())["payload"] == COUNTED
        for payload, reason in (({}, ASKED), ({"Authorization": 5}, "Bearer"), (bearer(key[:-1]), "gip_")):
            async with connect(host) as socket:
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await greet(socket, payload)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4403
                assert reason in closed.value.rcvd.reason


async def test_a_revocation_ends_sockets_and_streams_of_that_key_alone(settings: Settings) -> None:
    async with served(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        runtime = app.state.runtime
        request = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
        gone, gone_id = given_key(runtime.db)
        good, _ = given_key(runtime.db)
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
                headers=bearer(gone) | {"Accept": "text/event-stream"},
            ) as events,
        ):
            for socket, key in ((idle, gone), (watching, gone), (other, good)):
                assert await greet(socket, bearer(key)) == {"type": "connection_ack"}
            for socket in (watching, other):
                await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": subscription}))
                assert json.loads(await socket.recv())["type"] == "next"
            lines = events.aiter_lines()
            while "data: " not in await anext(lines):
                pass

            runtime.db.write_now(key_repository.revoke, DEFAULT_TENANT, gone_id)
            await app.state.app_state.refresh_keys()

            rest = [line async for line in lines]
            for socket in (idle, watching):
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await read_to_the_end(socket)
                assert closed.value.rcvd is not None
                assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4403, OVER)
            await other.send(json.dumps({"id": "2", "type": "subscribe", "payload": {"query": REQUESTS}}))
            assert json.loads(await other.recv())["payload"] == {"data": {"requests": {"totalCount": 1}}}
        (told,) = [json.loads(line.removeprefix("data: ")) for line in rest if line.startswith("data: {")]
        assert told["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_equal_subscriptions_are_shared_by_equally_entitled_callers_only(settings: Settings) -> None:
    async with served(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        runtime = app.state.runtime
        request = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
        payload = {"query": PROGRESS, "variables": {"id": request}}
        readers = [given_key(runtime.db, DEFAULT_TENANT, Scope.READ)[0] for _ in range(2)]
        admin, _ = given_key(runtime.db)
        async with connect(host) as one, connect(host) as two, connect(host) as three:
            for socket, key in zip((one, two, three), (*readers, admin), strict=True):
                await greet(socket, bearer(key))
                await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
                assert json.loads(await socket.recv())["type"] == "next"
            assert len(app.state.app_state.shared_subscriptions._shares) == 2


async def test_a_revoked_key_begins_nothing_on_a_socket_that_is_still_open(settings: Settings) -> None:
    async with served(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        db = app.state.runtime.db
        gone, gone_id = given_key(db)
        async with connect(host) as socket:
            await greet(socket, bearer(gone))
            db.write_now(key_repository.revoke, DEFAULT_TENANT, gone_id)
            make = 'mutation { createApiKey(input: {name: "back door", scopes: [ADMIN]}) { __typename } }'
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": make}}))
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await read_to_the_end(socket)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4403, OVER)
        assert db.read_now(key_repository.count_keys, DEFAULT_TENANT) == 1


@pytest.mark.parametrize("multipart", [False, True])
async def test_a_key_that_ends_while_a_body_comes_does_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, multipart: bool
) -> None:
    monkeypatch.setattr(http, "SLOW_BODY_SECONDS", 0)
    make = json.dumps(
        {"query": 'mutation { createApiKey(input: {name: "back door", scopes: [ADMIN]}) { __typename } }'}
    )
    part = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    body = part.format("operations", make) + part.format("map", "{}") + "--x--\r\n" if multipart else make
    kind = "multipart/form-data; boundary=x" if multipart else "application/json"

    async with served(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        db = app.state.runtime.db
        gone, gone_id = given_key(db)

        def last_used(connection: Connection) -> datetime | None:
            found = key_repository.get_key(connection, DEFAULT_TENANT, gone_id)
            return found.last_used_at if found else None

        async def content() -> AsyncIterator[bytes]:
            yield body[:20].encode()
            # Admitted, which is noted.
            while not db.read_now(last_used):  # noqa: ASYNC110 - another thread notes it
                await asyncio.sleep(0.02)
            db.write_now(key_repository.revoke, DEFAULT_TENANT, gone_id)
            yield body[20:].encode()

        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=10) as client:
            headers = bearer(gone) | {"Content-Type": kind, "GraphQL-Preflight": "1"}
            answer = await client.post("/graphql", content=content(), headers=headers)
        assert error_of(answer) == (401, "UNAUTHENTICATED", OVER)
        assert db.read_now(key_repository.count_keys, DEFAULT_TENANT) == 1
