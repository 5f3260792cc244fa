"""A client that knows of several APIs, and goes to the next one when one is gone, as `graphql-ws` does with a list."""

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

from gql_imgproc.standalone.client import PROGRESS, UPLOAD, Progress

#: How often a watcher asks whether its API is there, how long it waits for the answer, and its pause before it
#: connects again, in seconds.
PING_S, PONG_S, AGAIN_S = 1.0, 2.0, 0.2
#: How long a call may take before it is made elsewhere, in seconds.
CALL_S = 5.0


@dataclass
class Watched:
    """What a watcher has seen: every state, and from which API each of its connections was."""

    states: list[Progress] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.states[-1].ended if self.states else 0

    async def until(self, images: int) -> None:
        while self.done < images:  # noqa: ASYNC110 - what is waited for comes from other processes
            await asyncio.sleep(0.01)


async def upload(apis: Sequence[str], manifest: bytes, webhook_url: str) -> str:
    """The request, once an API has accepted it; a call whose answer was lost is the same call again elsewhere."""
    given = {"file": None, "webhookUrl": webhook_url, "idempotencyKey": uuid4().hex}
    form = {
        "operations": json.dumps({"query": UPLOAD, "variables": {"input": given}}),
        "map": json.dumps({"0": ["variables.input.file"]}),
    }
    async with httpx.AsyncClient(timeout=CALL_S, trust_env=False, headers={"GraphQL-Preflight": "1"}) as client:
        for api in cycle(apis):
            with contextlib.suppress(httpx.HTTPError, ValueError):
                file = {"0": ("products.csv", manifest, "text/csv")}
                answer = (await client.post(f"{api}/graphql", data=form, files=file)).json()
                if "errors" not in answer:
                    return str(answer["data"]["uploadCsv"]["request"]["id"])
            await asyncio.sleep(AGAIN_S)
    raise AssertionError("no API was given")


async def watch(apis: Sequence[str], request_id: str, watched: Watched) -> None:
    """Follows a request to its final state, from one connection to the next."""
    for api in cycle(apis):
        with contextlib.suppress(OSError, TimeoutError, WebSocketException):
            async with aclosing(_states(api, request_id)) as states:
                async for state in states:
                    if api not in watched.connections[-1:]:
                        watched.connections.append(api)
                    watched.states.append(state)
            if watched.states and watched.states[-1].status.is_terminal:
                return
        await asyncio.sleep(AGAIN_S)


async def _states(api: str, request_id: str) -> AsyncGenerator[Progress]:
    """One connection's worth, by the protocol graphql-transport-ws; whatever ends it before its time is an OSError."""
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
        payload = {"query": PROGRESS, "variables": {"id": request_id}}
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        async for text in socket:
            message = json.loads(text)
            match message["type"]:
                case "next" if not message["payload"].get("errors"):
                    yield Progress.of(message["payload"]["data"]["requestProgress"])
                case "next" | "error":
                    # Its database is away.
                    raise ConnectionAbortedError(text)
                case "complete":
                    return
