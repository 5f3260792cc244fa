"""GraphQL over HTTP: what is refused and how, content types, and what errors may tell."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gql_imgproc.graphql.content_negotiation import accepts_multipart, accepts_sse, answer_type, wants_only_events
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
            "The body is a list. Batches are not taken: send each operation in a request of its own.",
        ),
        (b"{}", "`query` must be the text of a GraphQL document."),
        (b'{"query": null}', "`query` must be the text of a GraphQL document."),
        (b'{"query": ""}', "`query` must be the text of a GraphQL document."),
        (b'{"query": ["x"]}', "`query` must be the text of a GraphQL document."),
        (b'{"query": "{ x }", "operationName": 7}', "`operationName` must be a text or null."),
        (b'{"query": "{ x }", "variables": []}', "`variables` must be an object or null."),
        (b'{"query": "{ x }", "extensions": "x"}', "`extensions` must be an object or null."),
        (
            b'{"query": "query A { x }", "operationName": "B"}',
            "The document has no operation named 'B'. Mend `operationName`, or leave it out.",
        ),
        (
            b'{"query": "fragment F on Query { limits { maxImages } }"}',
            "The document has no operation. Give it one, for instance a query.",
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


async def test_only_get_and_post_are_taken(api: Api) -> None:
    for method in ("HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "QUERY", "NONSENSE"):
        response = await api.http.request(method, "/graphql", params={"query": "{ limits { maxPageSize } }"})

        assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")
        if method != "HEAD":
            assert error_of(response)[1:] == ("BAD_REQUEST", "GraphQL is spoken with GET and POST.")


async def test_json_is_utf_8_whatever_it_is_called(api: Api) -> None:
    statuses = {}
    for kind in (
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
            "/graphql", content=b'{"query": "{ limits { maxPageSize } }"}', headers={"Content-Type": kind}
        )
        statuses[kind] = response.status_code

    assert list(statuses.values()) == [200] * 4 + [415] * 8


async def test_a_refusal_is_of_the_type_that_was_asked_for(api: Api) -> None:
    for accept in ("application/json", "application/graphql-response+json"):
        headers = JSON | {"Accept": accept}
        refused = await api.http.post("/graphql", content=b"null", headers=headers)
        elsewhere = await api.http.put("/graphql", headers=headers)

        assert (refused.status_code, refused.headers["content-type"]) == (400, accept)
        assert (elsewhere.status_code, elsewhere.headers["content-type"]) == (405, accept)
        assert "Accept" in refused.headers["vary"]


async def test_several_operations_need_a_name(api: Api) -> None:
    query = "query A { limits { maxImages } } query B { limits { maxPageSize } }"
    headers = {"Accept": "application/graphql-response+json"}
    nameless, empty, named = [
        await api.http.post("/graphql", json={"query": query, "operationName": name}, headers=headers)
        for name in (None, "", "B")
    ]

    for refused in (nameless, empty):
        assert error_of(refused) == (
            400,
            "GRAPHQL_VALIDATION_FAILED",
            "The document has several operations. Name the one to run in `operationName`.",
        )
    assert named.json() == {"data": {"limits": {"maxPageSize": 100}}}


async def test_methods_and_content_types(api: Api) -> None:
    query = "{ limits { maxPageSize } }"
    got = [
        await api.http.get("/graphql", params={"query": query, "variables": none, "extensions": none})
        for none in ("{}", "null", "")
    ]
    bad_variables = await api.http.get("/graphql", params={"query": query, "variables": "["})
    put = await api.http.put("/graphql", json={"query": query})
    text = await api.http.post("/graphql", content=query, headers={"Content-Type": "text/plain"})
    bare = await api.http.post("/graphql", content=query)
    by_get = await api.http.get(
        "/graphql", params={"query": 'mutation { cancelRequest(input: {id: "x"}) { __typename } }'}
    )

    assert [answer.json() for answer in got] == [{"data": {"limits": {"maxPageSize": 100}}}] * 3
    assert error_of(bad_variables)[:2] == (400, "BAD_REQUEST")
    assert (put.status_code, put.headers["allow"]) == (405, "GET, POST")
    assert (text.status_code, bare.status_code) == (415, 415)
    assert (by_get.status_code, by_get.headers["allow"]) == (405, "POST")


async def test_answer_is_of_the_type_that_was_asked_for(api: Api) -> None:
    modern = {"Accept": "application/graphql-response+json"}
    answers = [
        await api.http.post("/graphql", json={"query": query}, headers=headers)
        for headers in ({}, modern)
        for query in ("{ limits { maxPageSize } }", "{ nonsense }", "{", "{ requests(first: 101) { totalCount } }")
    ]

    assert [response.status_code for response in answers] == [200, 200, 200, 200, 200, 400, 400, 200]
    assert answers[0].headers["content-type"] == "application/json; charset=utf-8"
    assert answers[4].headers["content-type"] == "application/graphql-response+json; charset=utf-8"
    assert ["data" in response.json() for response in answers] == [True, False, False, True] * 2


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
        ("text/html, application/graphql-response+json;charset=utf-8", "application/graphql-response+json"),
        ("APPLICATION/GRAPHQL-RESPONSE+JSON;Q=oops", "application/json"),
    ],
)
def test_negotiation(accept: str, expected: str) -> None:
    assert answer_type(accept) == expected


@given(st.text(st.characters(max_codepoint=255)) | st.text('aq=;,*/.0159 "+-ejnpstxmlubripco'))
def test_every_header_can_be_read(accept: str) -> None:
    assert answer_type(accept) in ("application/json", "application/graphql-response+json")
    assert {accepts_sse(accept), wants_only_events(accept), accepts_multipart(accept)} <= {True, False}


def test_clients_that_name_every_type_still_get_json() -> None:
    urql = (
        "application/graphql-response+json, application/graphql+json, application/json,"
        " text/event-stream, multipart/mixed"
    )

    assert (accepts_sse(urql), wants_only_events(urql)) == (True, False)
    assert (accepts_sse("text/event-stream"), wants_only_events("text/event-stream")) == (True, True)


async def test_errors_carry_codes(api: Api) -> None:
    answers = [
        await api.answer(query, **variables)
        for query, variables in (
            ("{", {}),
            ("{ nonsense }", {}),
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

    assert [answer["errors"][0]["extensions"]["code"] for answer in answers] == [
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
    assert answers[1]["errors"][0]["message"] == "Cannot query field 'nonsense' on type 'Query'."


async def test_exception_is_replaced_by_a_number_that_stands_in_the_log(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(queries, "requests_page", broken)

    with caplog.at_level(logging.ERROR):
        body = await api.answer("{ requests { totalCount } limits { maxPageSize } }")

    (error,) = body["errors"]
    number = error["message"].rpartition(" ")[2]
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error["message"] == (
        f"Something went wrong on our side. Give this number to whoever runs the service: {number}"
    )
    assert error["extensions"] == {"code": "INTERNAL"}
    assert error["path"] == ["requests"]
    assert "swordfish" not in json.dumps(body)
    assert line.error_id == number
    assert "swordfish" in caplog.text


async def test_json_over_the_limit_is_refused(api: Api) -> None:
    async def dripping() -> Any:
        for _ in range(40):
            yield b" " * 64 * 1024

    declared = await api.http.post("/graphql", content=b" " * (1024 * 1024 + 1), headers=JSON)
    undeclared = await api.http.post("/graphql", content=dripping(), headers=JSON)

    for response in (declared, undeclared):
        assert error_of(response) == (
            413,
            "PAYLOAD_TOO_LARGE",
            "The body is larger than the limit of 1,048,576 bytes.",
        )


async def test_subscription_over_plain_http_tells_where_it_belongs(api: Api) -> None:
    response = await api.http.post("/graphql", json={"query": 'subscription { requestProgress(id: "x") { id } }'})

    status, code, message = error_of(response)
    assert (status, code) == (400, "BAD_REQUEST")
    assert "WebSocket" in message
