"""Subscriptions `requestProgress` and `requestsChanged`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.ids import DEFAULT_TENANT, IdPrefix, encode_global_id, new_id
from gql_imgproc.requests import watch
from gql_imgproc.requests.commands import cancel, delete
from gql_imgproc.security.scopes import Scope
from gql_imgproc.settings import Settings
from tests.graphql.client import serve_api
from tests.graphql.live_server import LIST, PROGRESS, Server, Socket, finish_image, given_upload, open_socket
from tests.support.api_clients import ANYBODY
from tests.support.api_keys import bearer, given_key, given_tenant


async def test_progress_starts_with_the_current_state_and_ends_after_the_final_one(server: Server) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 2)
    async with open_socket(host) as socket:
        await socket.subscribe("a", PROGRESS, id=encode_global_id(IdPrefix.REQUEST, request_id))
        first = await socket.receive()

        await finish_image(runtime, request_id)
        second = await socket.receive()
        await cancel(runtime, ANYBODY, request_id)
        rest = [await socket.receive()]
        while rest[-1]["type"] == "next":
            rest.append(await socket.receive())

    states = [m["payload"]["data"]["requestProgress"] for m in (first, second, *rest[:-1])]
    assert states[0] == {"status": "PENDING", "sequence": 1, "processedImages": 0}
    assert (states[1]["status"], states[1]["processedImages"]) == ("PROCESSING", 1)
    assert states[-1]["status"] == "CANCELLED"
    assert [s["sequence"] for s in states] == sorted({s["sequence"] for s in states})
    assert rest[-1] == {"id": "a", "type": "complete"}


@pytest.mark.parametrize(
    "id",
    ["nonsense", encode_global_id(IdPrefix.REQUEST, new_id()), encode_global_id(IdPrefix.PRODUCT, new_id())],
    ids=["nonsense", "request", "product"],
)
async def test_unknown_request_is_an_error(server: Server, id: str) -> None:
    host, _ = server
    async with open_socket(host) as socket:
        await socket.subscribe("a", PROGRESS, id=id)

        messages = [await socket.receive()]
        if messages[0]["type"] == "next":
            messages.append(await socket.receive())

    payload = messages[0]["payload"]
    (error,) = payload if isinstance(payload, list) else payload["errors"]
    assert error["extensions"] == {"code": "NOT_FOUND"}
    assert error["message"] == "Request not found. Check the ID; the request may have been deleted."
    assert [message["type"] for message in messages] in (["error"], ["next", "complete"])


@pytest.fixture
def _only_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists are read after an event, and not after a time."""
    monkeypatch.setattr(watch, "LIST_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(watch, "POLL_SECONDS", 60)
    monkeypatch.setattr(watch, "POLL_SECONDS_WITHOUT_REDIS", 60)


async def receive_list(socket: Socket) -> dict[str, Any]:
    message = await socket.receive()
    assert message["type"] == "next", message
    found: dict[str, Any] = message["payload"]["data"]["requestsChanged"]
    return found


@pytest.mark.usefixtures("_only_events")
async def test_list_is_sent_again_when_a_request_is_new_changes_or_is_deleted(server: Server) -> None:
    host, runtime = server
    async with open_socket(host) as socket:
        # Given a subscription to an empty list,
        await socket.subscribe("a", LIST)
        assert await receive_list(socket) == {"totalCount": 0, "nodes": []}

        # when a request is accepted, makes progress, is cancelled and deleted, then each change is sent.
        request_id = await given_upload(runtime, 2)
        listed = {"id": encode_global_id(IdPrefix.REQUEST, request_id), "status": "PENDING", "processedImages": 0}
        assert await receive_list(socket) == {"totalCount": 1, "nodes": [listed]}
        await finish_image(runtime, request_id)
        changed = {**listed, "status": "PROCESSING", "processedImages": 1}
        assert await receive_list(socket) == {"totalCount": 1, "nodes": [changed]}
        await cancel(runtime, ANYBODY, request_id)
        while (found := await receive_list(socket))["nodes"][0]["status"] == "PROCESSING":
            pass
        assert found["nodes"][0]["status"] == "CANCELLED"
        await delete(runtime, ANYBODY, request_id)
        while (found := await receive_list(socket))["nodes"]:
            pass
        assert found == {"totalCount": 0, "nodes": []}


@pytest.mark.usefixtures("_only_events")
async def test_list_has_the_requested_page_of_the_filter(server: Server) -> None:
    host, runtime = server
    first, second = [encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1)) for _ in range(2)]
    async with open_socket(host) as socket:
        await socket.subscribe("page", LIST, first=1)
        page = await receive_list(socket)
        await socket.subscribe("filter", LIST, filter={"status": "COMPLETED"})
        completed = await receive_list(socket)
        (refused, *_) = await socket.execute("refused", LIST, first=101)

    assert [node["id"] for node in page["nodes"]] == [second]
    assert (page["totalCount"], first != second) == (2, True)
    assert completed == {"totalCount": 0, "nodes": []}
    assert "BAD_USER_INPUT" in str(refused["payload"])


async def test_list_is_read_after_lost_events(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LIST_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.02)
    host, runtime = server
    async with open_socket(host) as socket:
        await socket.subscribe("a", LIST)
        await receive_list(socket)
        monkeypatch.setattr(runtime.publisher, "publish", lambda *args, **options: None)

        await given_upload(runtime, 1)

        assert (await receive_list(socket))["totalCount"] == 1


@asynccontextmanager
async def connect(host: str, key: str) -> AsyncIterator[Socket]:
    async with open_socket(host, begin=False) as socket:
        await socket.send(type="connection_init", payload=bearer(key))
        assert await socket.receive() == {"type": "connection_ack"}
        yield socket


@pytest.mark.usefixtures("_only_events")
async def test_list_has_the_requests_of_the_own_tenant(settings: Settings) -> None:
    async with serve_api(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        # Given two tenants that watch their lists,
        db = app.state.runtime.db
        own, _ = given_key(db, DEFAULT_TENANT, Scope.READ)
        other, _ = given_key(db, given_tenant(db, "other"), Scope.READ)
        async with connect(host, own) as mine, connect(host, other) as theirs:
            for socket in (mine, theirs):
                await socket.subscribe("a", LIST)
                assert (await receive_list(socket))["totalCount"] == 0

            # when one of them has a new request,
            await given_upload(app.state.runtime, 1)

            # then only that one receives it, and the other list has nothing to send.
            assert (await receive_list(mine))["totalCount"] == 1
            assert await theirs.drain() == []


async def test_list_requires_the_scope_read(settings: Settings) -> None:
    async with serve_api(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        key, _ = given_key(app.state.runtime.db, DEFAULT_TENANT, Scope.WRITE, Scope.ADMIN)
        async with connect(host, key) as socket:
            (refused,) = await socket.execute("a", LIST)

    assert refused["type"] == "error"
    (error,) = refused["payload"]
    assert error["extensions"]["code"] == "FORBIDDEN"
    assert error["message"] == "`requestsChanged` requires an API key with the scope READ."
