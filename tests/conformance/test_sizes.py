"""Limits set by the server command, not by the application."""

from __future__ import annotations

import json

import pytest

from gql_imgproc.web.server import WEBSOCKET_MESSAGE_BYTES
from tests.acceptance.conftest import Service
from tests.graphql.live_server import open_socket

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


async def test_oversized_message_closes_the_socket(service: Service) -> None:
    async with open_socket(service.url.removeprefix("http://")) as socket:
        empty = len(json.dumps({"type": "ping", "payload": {"text": ""}}))
        await socket.send(type="ping", payload={"text": "x" * (WEBSOCKET_MESSAGE_BYTES - empty)})
        assert (await socket.receive())["type"] == "pong"

        await socket.send(type="ping", payload={"text": "x" * (WEBSOCKET_MESSAGE_BYTES - empty + 1)})
        assert await socket.close_code() == 1009
