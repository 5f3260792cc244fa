"""The Python client `gql`."""

from __future__ import annotations

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

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


def build_request(document: str, **variables: Any) -> GraphQLRequest:
    return GraphQLRequest(DOCUMENTS[document], variable_values=variables)


def codes(error: TransportQueryError) -> list[str]:
    return [each["extensions"]["code"] for each in error.errors or []]


async def read_progress(session: Any, release_url: str, id: str) -> list[Any]:
    progress = []
    async for event in session.subscribe(build_request("progress", id=id)):
        progress.append(event["requestProgress"])
        if len(progress) == 1:
            async with httpx.AsyncClient() as client:
                await client.get(release_url)
    return progress


async def run_scenario(service: Service, shop: Shop) -> dict[str, Any]:
    http = HTTPXAsyncTransport(f"{service.url}/graphql", headers={"GraphQL-Preflight": "1"})
    socket = WebsocketsTransport(
        f"{service.url.replace('http', 'ws')}/graphql", subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL]
    )
    file = FileVar(str(shop.csv), content_type="text/csv")
    async with Client(transport=http) as over_http, Client(transport=socket) as over_socket:
        received: dict[str, Any] = {}
        for name, session in (("http", over_http), ("socket", over_socket)):
            received[f"query {name}"] = await session.execute(build_request("query"))
            received[f"typed error {name}"] = await session.execute(
                build_request("typedError", input={"id": "nonsense"})
            )
            with pytest.raises(TransportQueryError) as invalid:
                await session.execute(build_request("invalid"))
            received[f"invalid {name}"] = codes(invalid.value)
        uploaded = await over_http.execute(build_request("upload", input={"file": file}), upload_files=True)
        received["upload"] = uploaded["uploadCsv"]
        with pytest.raises(TransportQueryError) as unknown:
            await read_progress(over_socket, shop.release_url, "nonsense")
        received["unknown request"] = codes(unknown.value)
        received["progress"] = await read_progress(over_socket, shop.release_url, received["upload"]["request"]["id"])
    return received


async def test_gql_over_http_and_websocket(service: Service, shop: Shop) -> None:
    received = await run_scenario(service, shop)

    for name in ("http", "socket"):
        assert received[f"query {name}"] == reports.QUERY
        assert received[f"invalid {name}"] == reports.INVALID_QUERY
        assert received[f"typed error {name}"] == reports.TYPED_ERROR
    reports.assert_upload_accepted(received["upload"])
    assert received["unknown request"] == reports.UNKNOWN_REQUEST[0]
    reports.assert_progress_complete(received["progress"])
