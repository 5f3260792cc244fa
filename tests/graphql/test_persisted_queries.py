"""Automatic persisted queries, and trusted documents.

https://www.apollographql.com/docs/apollo-server/performance/apq
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import redis

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.messaging import document_store
from gql_imgproc.messaging.document_store import TTL_S, DocumentStore
from gql_imgproc.settings import Settings
from gql_imgproc.web.app import create_app
from tests.graphql.client import Api, error_of, open_api
from tests.graphql.live_server import Server, open_socket

QUERY = "{ limits { maxPageSize } }"
DATA = {"data": {"limits": {"maxPageSize": 100}}}
NOT_FOUND = {
    "errors": [{"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}],
}
UNTRUSTED = (200, "UNTRUSTED_DOCUMENT", "This server only executes trusted documents.")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def hash_of(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()


def persisted(sha256: Any, **fields: Any) -> dict[str, Any]:
    return fields | {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha256}}}


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_unknown_hash_is_registered_with_its_document(api: Api, method: str) -> None:
    async def send(fields: dict[str, Any]) -> Any:
        if method == "POST":
            return await api.http.post("/graphql", json=fields)
        return await api.http.get("/graphql", params=fields | {"extensions": json.dumps(fields["extensions"])})

    query = f"{QUERY} # {method}"
    unknown = await send(persisted(hash_of(query)))
    registered = await send(persisted(hash_of(query), query=query))
    known = await send(persisted(hash_of(query)))

    assert (unknown.status_code, unknown.json()) == (200, NOT_FOUND)
    assert (registered.status_code, registered.json()) == (200, DATA)
    assert (known.status_code, known.json()) == (200, DATA)


async def test_persisted_query_works_on_a_websocket(server: Server) -> None:
    host, _ = server
    async with open_socket(host) as socket:
        answers = []
        for payload in (persisted(hash_of(QUERY), query=QUERY), persisted(hash_of(QUERY))):
            await socket.send(id="a", type="subscribe", payload=payload)
            answers.append([await socket.receive() for _ in range(2)])

    assert answers == [[{"id": "a", "type": "next", "payload": DATA}, {"id": "a", "type": "complete"}]] * 2


@pytest.mark.parametrize(
    ("extension", "message"),
    [
        (
            {"version": 1, "sha256Hash": hash_of("{ x }")},
            "`extensions.persistedQuery.sha256Hash` must be the SHA-256 of `query` in lower-case hex.",
        ),
        (
            {"version": 1, "sha256Hash": hash_of(QUERY).upper()},
            "`extensions.persistedQuery.sha256Hash` must be the SHA-256 of `query` in lower-case hex.",
        ),
        (
            {"version": 1, "sha256Hash": 7},
            "`extensions.persistedQuery` must be an object with `version: 1` and a string `sha256Hash`.",
        ),
        (
            {"version": 2, "sha256Hash": hash_of(QUERY)},
            "`extensions.persistedQuery` must be an object with `version: 1` and a string `sha256Hash`.",
        ),
        ("x", "`extensions.persistedQuery` must be an object with `version: 1` and a string `sha256Hash`."),
    ],
)
async def test_wrong_hash_is_refused_and_nothing_is_stored(api: Api, extension: Any, message: str) -> None:
    with redis.Redis.from_url(api.runtime.settings.redis_url) as client:
        client.flushdb()

        response = await api.http.post("/graphql", json={"query": QUERY, "extensions": {"persistedQuery": extension}})

        assert error_of(response) == (200, "BAD_USER_INPUT", message)
        assert client.keys("graphql:*") == []


async def test_document_that_cannot_be_parsed_is_not_stored(api: Api) -> None:
    refused = await api.http.post("/graphql", json=persisted(hash_of("{"), query="{"))
    unknown = await api.http.post("/graphql", json=persisted(hash_of("{")))

    assert error_of(refused)[1] == "GRAPHQL_PARSE_FAILED"
    assert unknown.json() == NOT_FOUND


def test_store_is_bounded_and_its_documents_expire(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_store, "MAX_DOCUMENTS", 3)
    store = DocumentStore(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()

        for name in ("a", "b", "c", "a", "d"):
            store.put(name, f"document {name}")

        assert [store.get(name) for name in "abcd"] == ["document a", None, "document c", "document d"]
        assert client.zcard("graphql:documents") == 3
        assert 0 < client.ttl("graphql:document:a") <= TTL_S  # type: ignore[operator]
        # A use extends the life of a document.
        client.expire("graphql:document:a", 7)
        store.get("a")
        assert client.ttl("graphql:document:a") > 7  # type: ignore[operator]
    store.close()


async def test_without_redis_the_document_is_executed_and_its_hash_is_not_found(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = DocumentStore("redis://127.0.0.1:1/0")
    monkeypatch.setattr(api.runtime, "documents", silent)

    with_document = await api.http.post("/graphql", json=persisted(hash_of(QUERY), query=QUERY))
    without = await api.http.post("/graphql", json=persisted(hash_of(QUERY)))

    assert with_document.json() == DATA
    assert without.json() == NOT_FOUND


async def test_only_trusted_documents_are_executed(settings: Settings, tmp_path: Path) -> None:
    # Given a file with one document,
    path = tmp_path / "documents.json"
    path.write_text(json.dumps({"limits-1": QUERY}))
    async with open_api(settings.model_copy(update={"trusted_documents": path})) as api:
        # when it is sent as text, by its ID and by its SHA-256,
        operations = ({"query": QUERY}, persisted("limits-1"), persisted(hash_of(QUERY)))
        trusted = [await api.http.post("/graphql", json=operation) for operation in operations]

        # then it is executed,
        assert [response.json() for response in trusted] == [DATA] * 3

        # and no other document, which is not stored either.
        other = "{ limits { maxImages } }"
        for operation in ({"query": other}, persisted(hash_of(other)), persisted(hash_of(other), query=other)):
            assert error_of(await api.http.post("/graphql", json=operation)) == UNTRUSTED
            stream = await api.http.post("/graphql", json=operation, headers={"Accept": "text/event-stream"})
            assert '"code":"UNTRUSTED_DOCUMENT"' in stream.text
    async with open_api(settings) as api:
        assert (await api.http.post("/graphql", json=persisted(hash_of(other)))).json() == NOT_FOUND


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"a": 1}'])
def test_unusable_file_of_trusted_documents_fails_the_start(
    settings: Settings, tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "documents.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(ConfigurationError, match="IMGPROC_TRUSTED_DOCUMENTS"):
        create_app(settings.model_copy(update={"trusted_documents": path}))
