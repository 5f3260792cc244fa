"""A client of several APIs that fails over to the next one, as `graphql-ws` does with a list."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import cycle
from uuid import uuid4

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from gql_imgproc.client.documents import UPLOAD, WATCH
from gql_imgproc.client.request import Request, parse_request

#: A watcher's ping interval, ping timeout and reconnect delay, in seconds.
PING_S, PONG_S, RECONNECT_S = 1.0, 2.0, 0.2
#: Timeout of a call before the next API is tried, in seconds.
CALL_S = 5.0


@dataclass
class Watcher:
    """Every state that a watcher received, and the API of each of its connections."""

    states: list[Request] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)

    @property
    def processed_images(self) -> int:
        return self.states[-1].finished_images if self.states else 0

    async def wait_for(self, images: int) -> None:
        while self.processed_images < images:  # noqa: ASYNC110 - other processes make progress
            await asyncio.sleep(0.01)


async def upload(apis: Sequence[str], csv: bytes, webhook_url: str) -> str:
    """Uploads to the first API that accepts it, with one idempotency key for all attempts. Returns the request ID."""
    variables = {"file": None, "webhookUrl": webhook_url, "idempotencyKey": uuid4().hex}
    form = {
        "operations": json.dumps({"query": UPLOAD, "variables": {"input": variables}}),
        "map": json.dumps({"0": ["variables.input.file"]}),
    }
    async with httpx.AsyncClient(timeout=CALL_S, trust_env=False, headers={"GraphQL-Preflight": "1"}) as client:
        for api in cycle(apis):
            with contextlib.suppress(httpx.HTTPError, ValueError):
                file = {"0": ("products.csv", csv, "text/csv")}
                answer = (await client.post(f"{api}/graphql", data=form, files=file)).json()
                if "errors" not in answer:
                    return str(answer["data"]["uploadCsv"]["request"]["id"])
            await asyncio.sleep(RECONNECT_S)
    raise AssertionError("no API was given")


async def watch(apis: Sequence[str], request_id: str, watcher: Watcher) -> None:
    """Watches a request to its final state, across reconnects."""
    for api in cycle(apis):
        with contextlib.suppress(OSError, TimeoutError, WebSocketException):
            async with aclosing(_states(api, request_id)) as states:
                async for state in states:
                    if api not in watcher.connections[-1:]:
                        watcher.connections.append(api)
                    watcher.states.append(state)
            if watcher.states and watcher.states[-1].status.is_terminal:
                return
        await asyncio.sleep(RECONNECT_S)


async def _states(api: str, request_id: str) -> AsyncGenerator[Request]:
    """The states of one connection, by graphql-transport-ws. Every premature end is raised as an OSError."""
    async with connect(
        f"ws{api.removeprefix('http')}/graphql",
        subprotocols=[Subprotocol("graphql-transport-ws")],
        open_timeout=CALL_S,
        close_timeout=PONG_S,
        ping_interval=PING_S,
        ping_timeout=PONG_S,
        proxy=None,
    ) as socket:
        await socket.send(json.dumps({"type": "connection_init"}))
        async with asyncio.timeout(CALL_S):
            while json.loads(await socket.recv())["type"] != "connection_ack":
                pass
        payload = {"query": WATCH, "variables": {"id": request_id}}
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        async for text in socket:
            message = json.loads(text)
            match message["type"]:
                case "next" if not message["payload"].get("errors"):
                    yield parse_request(message["payload"]["data"]["requestProgress"])
                case "next" | "error":
                    # The API cannot reach its database.
                    raise ConnectionAbortedError(text)
                case "complete":
                    return
