"""A WebSocket client of a real server, and uploads to watch."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gql_imgproc.enums import Priority
from gql_imgproc.graphql.documents import MAX_DOCUMENT_CHARS, MAX_TOKENS
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.imaging.options import DEFAULT
from gql_imgproc.requests.notify import publish
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.upload import CsvUpload, accept_upload
from tests.support.api_clients import ANYBODY
from tests.support.scenarios import DONE, claim_image, record

PROGRESS = "subscription($id: ID!) { requestProgress(id: $id) { status sequence processedImages } }"
LIST = """subscription($first: Int, $filter: RequestFilterInput) { requestsChanged(first: $first, filter: $filter)
{ totalCount nodes { id status processedImages } } }"""

#: Invalid operations and their error codes.
INVALID_OPERATIONS: list[tuple[dict[str, Any], str]] = [
    ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
    ({"query": "subscription { nonsense }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "query A { limits { maxImages } } query B { limits { maxImages } }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "query A { limits { maxImages } }", "operationName": "B"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "fragment F on Query { limits { maxImages } }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": PROGRESS}, "BAD_USER_INPUT"),
    ({"query": "{" + " " * MAX_DOCUMENT_CHARS + "limits { maxImages } }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": PROGRESS + "#" * MAX_DOCUMENT_CHARS}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "{" + " limits { maxImages }" * MAX_TOKENS + "}"}, "GRAPHQL_PARSE_FAILED"),
    ({"query": "{ a " * 300 + "}" * 300}, "GRAPHQL_PARSE_FAILED"),
    ({"query": "subscription { " + "a { " * 300 + "}" * 301}, "GRAPHQL_PARSE_FAILED"),
    ({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}}, "PERSISTED_QUERY_NOT_FOUND"),
    ({"query": "{ x }", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}}, "BAD_USER_INPUT"),
]


class Socket:
    """A client of `graphql-transport-ws`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            message: dict[str, Any] = json.loads(await self.connection.recv())
        return message

    async def close_code(self) -> int:
        """The close code from the server, which must send no message before."""
        with pytest.raises(ConnectionClosed) as closed:
            await self.receive()
        assert closed.value.rcvd is not None, "the connection was dropped without a close frame"
        return closed.value.rcvd.code

    async def drain(self) -> list[dict[str, Any]]:
        """The messages of the server until it has handled everything that was sent."""
        await self.send(type="ping", payload={"until": "here"})
        messages = [await self.receive()]
        while messages[-1] != {"type": "pong", "payload": {"until": "here"}}:
            messages.append(await self.receive())
        return messages[:-1]

    async def execute(self, id: str, query: str, **variables: Any) -> list[dict[str, Any]]:
        """The messages of an operation, to its end."""
        await self.subscribe(id, query, **variables)
        messages = [await self.receive()]
        while messages[-1]["type"] == "next":
            messages.append(await self.receive())
        assert {message["id"] for message in messages} == {id}
        return messages

    async def subscribe(self, operation_id: str, query: str, **variables: Any) -> None:
        await self.send(id=operation_id, type="subscribe", payload={"query": query, "variables": variables})


@asynccontextmanager
async def open_socket(
    host: str,
    *,
    begin: bool = True,
    origin: str | None = None,
    protocols: Sequence[str] | None = ("graphql-transport-ws",),
) -> AsyncIterator[Socket]:
    headers = {"Origin": origin} if origin else None
    async with connect(f"ws://{host}/graphql", subprotocols=protocols, additional_headers=headers) as raw:
        socket = Socket(raw)
        if begin:
            await socket.send(type="connection_init")
            assert await socket.receive() == {"type": "connection_ack"}
        yield socket


async def given_upload(runtime: Any, images: int) -> UUID:
    """An accepted upload; no worker processes it."""
    rows = "".join(f"{n},Shirt,https://shop.example/{n}.jpg\n" for n in range(1, images + 1))
    file = io.BytesIO(f"S. No.,Product Name,Input Image Urls\n{rows}".encode())
    result = await accept_upload(runtime, ANYBODY, CsvUpload(file, "shop.csv", DEFAULT, Priority.NORMAL, None, None))
    return result.snapshot.id


async def finish_image(runtime: Any, request_id: UUID) -> None:
    """Completes one more image of an upload and publishes the snapshot."""
    assert record(runtime.db, claim_image(runtime.db, request_id), DONE) is not None
    publish(runtime, await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id))


#: `HOST:PORT` of a running server and its runtime.
Server = tuple[str, Any]
