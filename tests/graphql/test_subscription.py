"""Subscription `requestProgress`."""

from __future__ import annotations

import pytest

from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.requests.commands import cancel
from tests.graphql.live_server import PROGRESS, Server, finish_image, given_upload, open_socket
from tests.support.api_clients import ANYBODY


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
