"""The Python client `gql`."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from gql import Client, FileVar, GraphQLRequest
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

from tests.acceptance.conftest import Service
from tests.conformance import reports
from tests.conformance.conftest import DOCUMENTS, Shop

pytestmark = pytest.mark.acceptance


def asked(document: str, **variables: Any) -> GraphQLRequest:
    return GraphQLRequest(DOCUMENTS[document], variable_values=variables)


def codes(error: TransportQueryError) -> list[str]:
    return [fault["extensions"]["code"] for fault in error.errors or []]


async def watched(session: Any, go: str, id: str) -> list[Any]:
    progress = []
    async for event in session.subscribe(asked("progress", id=id)):
        progress.append(event["requestProgress"])
        if len(progress) == 1:
            async with httpx.AsyncClient() as client:
                await client.get(go)
    return progress


async def story(service: Service, shop: Shop) -> dict[str, Any]:
    http = HTTPXAsyncTransport(f"{service.url}/graphql", headers={"GraphQL-Preflight": "1"})
    socket = WebsocketsTransport(
        f"{service.url.replace('http', 'ws')}/graphql", subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL]
    )
    file = FileVar(str(shop.csv), content_type="text/csv")
    async with Client(transport=http) as over_http, Client(transport=socket) as over_socket:
        heard: dict[str, Any] = {}
        for name, session in (("http", over_http), ("socket", over_socket)):
            heard[f"query {name}"] = await session.execute(asked("query"))
            heard[f"refused {name}"] = await session.execute(asked("refused", input={"id": "nonsense"}))
            with pytest.raises(TransportQueryError) as wrong:
                await session.execute(asked("wrong"))
            heard[f"wrong {name}"] = codes(wrong.value)
        uploaded = await over_http.execute(asked("upload", input={"file": file}), upload_files=True)
        heard["upload"] = uploaded["uploadCsv"]
        with pytest.raises(TransportQueryError) as stray:
            await watched(over_socket, shop.go, "nonsense")
        heard["stray"] = codes(stray.value)
        heard["progress"] = await watched(over_socket, shop.go, heard["upload"]["request"]["id"])
    return heard


def test_gql_over_http_and_websockets(service: Service, shop: Shop) -> None:
    heard = asyncio.run(story(service, shop))

    for name in ("http", "socket"):
        assert heard[f"query {name}"] == reports.QUERY
        assert heard[f"wrong {name}"] == reports.WRONG
        assert heard[f"refused {name}"] == reports.REFUSED
    reports.assert_accepted(heard["upload"])
    assert heard["stray"] == reports.STRAY[0]
    reports.assert_watched(heard["progress"])
