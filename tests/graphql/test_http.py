"""GraphQL over HTTP: invalid requests, content types, error codes and masked errors."""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gql_imgproc.graphql import documents, query_limits
from gql_imgproc.graphql.content_negotiation import accepts_multipart, accepts_only_sse, accepts_sse, answer_type
from gql_imgproc.requests.repository import queries
from tests.graphql.client import Api, error_of

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The body is not valid JSON in UTF-8."),
        (b"{", "The body is not valid JSON in UTF-8."),
        (b"\xff\xfe{}", "The body is not valid JSON in UTF-8."),
        (b'{"query": "\xff"}', "The body is not valid JSON in UTF-8."),
        (
            b'{"query": "{ limits { maxImages } }", "variables": {"x": "\\ud800"}}',
            "The body is not valid JSON in UTF-8.",
        ),
        (b"[" * 200_000, "The body is not valid JSON in UTF-8."),
        (b'{"query": 1' + b"0" * 5_000 + b"}", "The body is not valid JSON in UTF-8."),
        (b"null", "The body must be a JSON object."),
        (b"7", "The body must be a JSON object."),
        (b'"query"', "The body must be a JSON object."),
        ('{"query": "{ limits { maxImages } }"}'.encode("utf-16"), "The body is not valid JSON in UTF-8."),
        (
            b'[{"query": "{ limits { maxImages } }"}]',
            "The body is a list. Batches are not supported: send each operation in its own request.",
        ),
        (b"{}", "`query` must be the text of a GraphQL document."),
        (b'{"query": null}', "`query` must be the text of a GraphQL document."),
        (b'{"query": ""}', "`query` must be the text of a GraphQL document."),
        (b'{"query": ["x"]}', "`query` must be the text of a GraphQL document."),
        (b'{"query": "{ x }", "operationName": 7}', "`operationName` must be a string or null."),
        (b'{"query": "{ x }", "variables": []}', "`variables` must be an object or null."),
        (b'{"query": "{ x }", "extensions": "x"}', "`extensions` must be an object or null."),
        (
            b'{"query": "query A { x }", "operationName": "B"}',
            "Unknown operation named 'B'. Correct or omit `operationName`.",
        ),
        (
            b'{"query": "fragment F on Query { limits { maxImages } }"}',
            "The document has no operation. Add one, for instance a query.",
        ),
        (b'{"query": "{ x }", "query": 7}', "`query` must be the text of a GraphQL document."),
        (
            b'{"query": "{ limits { maxImages } }", "variables": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
            "The body is not valid JSON in UTF-8.",
        ),
    ],
)
async def test_malformed_body_is_refused(api: Api, body: bytes, message: str) -> None:
    response = await api.http.post("/graphql", content=body, headers=JSON)

    assert error_of(response) == (400, "BAD_REQUEST", message)


async def test_only_get_and_post_are_supported(api: Api) -> None:
    for method in ("HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "QUERY", "NONSENSE"):
        response = await api.http.request(method, "/graphql", params={"query": "{ limits { maxPageSize } }"})

        assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")
        if method != "HEAD":
            assert error_of(response)[1:] == ("BAD_REQUEST", "Only GET and POST are supported.")


async def test_json_must_be_utf_8(api: Api) -> None:
    statuses = {}
    for content_type in (
        "application/json",
        "Application/JSON; charset=utf-8",
        'application/json;CHARSET="UTF-8"; version=1',
        "application/json; charset=utf8",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/graphql",
        "application/graphql-response+json",
        "application/x-www-form-urlencoded",
        "text/plain",
        "nonsense",
        "",
    ):
        response = await api.http.post(
            "/graphql", content=b'{"query": "{ limits { maxPageSize } }"}', headers={"Content-Type": content_type}
        )
        statuses[content_type] = response.status_code

    assert list(statuses.values()) == [200] * 4 + [415] * 8


async def test_error_response_has_the_accepted_content_type(api: Api) -> None:
    for accept in ("application/json", "application/graphql-response+json"):
        headers = JSON | {"Accept": accept}
        invalid = await api.http.post("/graphql", content=b"null", headers=headers)
        wrong_method = await api.http.put("/graphql", headers=headers)

        assert (invalid.status_code, invalid.headers["content-type"]) == (400, accept)
        assert (wrong_method.status_code, wrong_method.headers["content-type"]) == (405, accept)
        assert "Accept" in invalid.headers["vary"]


async def test_several_operations_need_a_name(api: Api) -> None:
    query = "query A { limits { maxImages } } query B { limits { maxPageSize } }"
    headers = {"Accept": "application/graphql-response+json"}
    without_name, empty_name, named = [
        await api.http.post("/graphql", json={"query": query, "operationName": name}, headers=headers)
        for name in (None, "", "B")
    ]

    for response in (without_name, empty_name):
        assert error_of(response) == (
            400,
            "GRAPHQL_VALIDATION_FAILED",
            "The document has several operations. Set `operationName` to the one to run.",
        )
    assert named.json() == {"data": {"limits": {"maxPageSize": 100}}}


async def test_methods_and_content_types(api: Api) -> None:
    query = "{ limits { maxPageSize } }"
    queries_by_get = [
        await api.http.get("/graphql", params={"query": query, "variables": none, "extensions": none})
        for none in ("{}", "null", "")
    ]
    bad_variables = await api.http.get("/graphql", params={"query": query, "variables": "["})
    put = await api.http.put("/graphql", json={"query": query})
    text = await api.http.post("/graphql", content=query, headers={"Content-Type": "text/plain"})
    without_type = await api.http.post("/graphql", content=query)
    mutation_by_get = await api.http.get(
        "/graphql", params={"query": 'mutation { cancelRequest(input: {id: "x"}) { __typename } }'}
    )

    assert [response.json() for response in queries_by_get] == [{"data": {"limits": {"maxPageSize": 100}}}] * 3
    assert error_of(bad_variables)[:2] == (400, "BAD_REQUEST")
    assert (put.status_code, put.headers["allow"]) == (405, "GET, POST")
    assert (text.status_code, without_type.status_code) == (415, 415)
    assert (mutation_by_get.status_code, mutation_by_get.headers["allow"]) == (405, "POST")


async def test_response_has_the_accepted_content_type(api: Api) -> None:
    graphql_json = {"Accept": "application/graphql-response+json"}
    responses = [
        await api.http.post("/graphql", json={"query": query}, headers=headers)
        for headers in ({}, graphql_json)
        for query in ("{ limits { maxPageSize } }", "{ nonsense }", "{", "{ requests(first: 101) { totalCount } }")
    ]

    assert [response.status_code for response in responses] == [200, 200, 200, 200, 200, 400, 400, 200]
    assert responses[0].headers["content-type"] == "application/json; charset=utf-8"
    assert responses[4].headers["content-type"] == "application/graphql-response+json; charset=utf-8"
    assert ["data" in response.json() for response in responses] == [True, False, False, True] * 2


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/plain", "application/json"),
        ("application/json", "application/json"),
        ("application/graphql-response+json", "application/graphql-response+json"),
        ("application/graphql-response+json, application/json", "application/graphql-response+json"),
        ("application/json, application/graphql-response+json", "application/json"),
        ("application/json;q=0.5, application/graphql-response+json;q=0.9", "application/graphql-response+json"),
        ("application/graphql-response+json;q=0.1, application/json", "application/json"),
        ("application/graphql-response+json, */*;q=0.1", "application/graphql-response+json"),
        ("application/graphql-response+json;q=0", "application/json"),
        ("application/graphql-response+json;q=0.000, */*", "application/json"),
        ("application/graphql-response+json;q=0.8, application/*;q=0.9", "application/json"),
        ("application/json;q=0, application/graphql-response+json;q=0.1", "application/graphql-response+json"),
        ("application/json;q=nan, application/graphql-response+json;q=0.1", "application/graphql-response+json"),
        ("application/json;q=0, */*", "application/graphql-response+json"),
        ("application/json;q=0.1, application/graphql-response+json;q=0.5, */*", "application/graphql-response+json"),
        ("text/html, application/graphql-response+json;charset=utf-8", "application/graphql-response+json"),
        ("APPLICATION/GRAPHQL-RESPONSE+JSON;Q=oops", "application/json"),
    ],
)
def test_content_negotiation(accept: str, expected: str) -> None:
    assert answer_type(accept) == expected


@given(st.text(st.characters(max_codepoint=255)) | st.text('aq=;,*/.0159 "+-ejnpstxmlubripco'))
def test_any_accept_header_is_parsed(accept: str) -> None:
    assert answer_type(accept) in ("application/json", "application/graphql-response+json")
    assert {accepts_sse(accept), accepts_only_sse(accept), accepts_multipart(accept)} <= {True, False}


def test_clients_that_accept_every_type_get_json() -> None:
    urql = (
        "application/graphql-response+json, application/graphql+json, application/json,"
        " text/event-stream, multipart/mixed"
    )

    assert (accepts_sse(urql), accepts_only_sse(urql)) == (True, False)
    assert (accepts_sse("text/event-stream"), accepts_only_sse("text/event-stream")) == (True, True)


async def test_errors_carry_codes(api: Api) -> None:
    responses = [
        await api.execute(query, **variables)
        for query, variables in (
            ("{", {}),
            ("{ unknownField }", {}),
            ("query($n: Int!) { requests(first: $n) { totalCount } }", {"n": "x"}),
            ("query($n: Int!) { requests(first: $n) { totalCount } }", {}),
            ("query($n: Int!) { requests { totalCount } }", {"n": 1}),
            ("query($n: String) { requests(first: $n) { totalCount } }", {"n": "x"}),
            ("{ requests(first: $n) { totalCount } }", {"n": 1}),
            ("{ requests(first: " + "9" * 5_000 + ") { totalCount } }", {}),
            ("{ a " * 100 + "}" * 100, {}),
            ("{ a " * 4_000 + "}" * 4_000, {}),
            ("query A { limits { maxImages } } query B { limits { maxImages } }", {}),
            ("{" + " limits { maxImages }" * 700 + "}", {}),
        )
    ]

    assert [response["errors"][0]["extensions"]["code"] for response in responses] == [
        "GRAPHQL_PARSE_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "BAD_USER_INPUT",
        "BAD_USER_INPUT",
        "GRAPHQL_VALIDATION_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "GRAPHQL_PARSE_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "GRAPHQL_PARSE_FAILED",
    ]
    assert responses[1]["errors"][0]["message"] == "Cannot query field 'unknownField' on type 'Query'."


async def test_documents_are_parsed_and_validated_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def count(call: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            calls[call.__name__] += 1
            return call(*args, **kwargs)

        return counted

    monkeypatch.setattr(documents, "parse", count(documents.parse))
    monkeypatch.setattr(query_limits, "validate", count(query_limits.validate))

    # When a valid and an invalid document are sent three times each, with other variables,
    query = "query CachedOnce($first: Int) { requests(first: $first) { totalCount } }"
    for first in (1, 2, 101):
        valid = await api.execute(query, first=first)
        invalid = await api.execute("query CachedOnce { unknownField }")
        assert invalid["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"

    # then each is parsed and validated once, and executed with its variables.
    assert calls == {"parse": 2, "validate": 2}
    assert valid["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    # The caches are bounded.
    caches = documents.parse_document, query_limits._measure, query_limits._validate
    assert [cache.cache_info().maxsize for cache in caches] == [100, 100, 100]


async def test_exception_is_masked_by_an_error_id_that_is_logged(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(queries, "requests_page", fail)

    with caplog.at_level(logging.ERROR):
        body = await api.execute("{ requests { totalCount } limits { maxPageSize } }")

    (error,) = body["errors"]
    error_id = error["message"].removesuffix(".").rpartition(" ")[2]
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error["message"] == f"Internal server error. Contact the operator and quote error ID {error_id}."
    assert error["extensions"] == {"code": "INTERNAL"}
    assert error["path"] == ["requests"]
    assert "swordfish" not in json.dumps(body)
    assert line.error_id == error_id
    assert "swordfish" in caplog.text


async def test_json_above_the_size_limit_is_rejected(api: Api) -> None:
    async def chunks() -> Any:
        for _ in range(40):
            yield b" " * 64 * 1024

    with_length = await api.http.post("/graphql", content=b" " * (1024 * 1024 + 1), headers=JSON)
    without_length = await api.http.post("/graphql", content=chunks(), headers=JSON)

    for response in (with_length, without_length):
        assert error_of(response) == (
            413,
            "PAYLOAD_TOO_LARGE",
            "The body is larger than the limit of 1,048,576 bytes.",
        )


async def test_subscription_over_plain_http_names_the_transports(api: Api) -> None:
    response = await api.http.post("/graphql", json={"query": 'subscription { requestProgress(id: "x") { id } }'})

    status, code, message = error_of(response)
    assert (status, code) == (400, "BAD_REQUEST")
    assert "WebSocket" in message
