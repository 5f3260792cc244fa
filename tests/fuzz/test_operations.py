"""GraphQL over HTTP with unusual JSON bodies, URLs and headers."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.fuzz.asgi_client import FuzzServer, Response
from tests.fuzz.documents import envelopes, json_values
from tests.fuzz.limits import fuzz_settings
from tests.fuzz.mutations import damaged_bytes

JSON = ("Content-Type", b"application/json")
MEDIA_TYPES = ("application/json", "application/graphql-response+json", "text/event-stream", "multipart/mixed")
MEDIA_TYPES += (
    "multipart/form-data",
    "text/html",
    "text/plain",
    "application/*",
    "*/*",
    "application/xml",
    "",
    "*",
    "/",
)
PARAMETERS = ("", ";q=0", ";q=1", ";q=0.5", ";q=nan", ";q=inf", ";q=-1", ";q=1e400", ";q=", ";charset=utf-16", ";q=x")
PARAMETERS += (";charset=nonsense", ";subscriptionSpec=1.0", ';subscriptionSpec="1.0"', ";boundary=x", ";boundary=")
PARAMETERS += (';boundary="', ";boundary=" + "x" * 300, ";" * 50, ";q=0.5;q=0.7", ";charset=\xff", ";boundary=\xe9")


def assert_graphql(response: Response | None) -> None:
    """A response is a GraphQL response in JSON, or a complete stream."""
    if response is None:
        return
    event(f"status {response.status}")
    media_type = response.headers.get("content-type", "")
    if media_type.startswith(("application/json", "application/graphql-response+json")):
        body = response.json()
        if "error" in body:
            # Rejected as malformed HTTP, before GraphQL.
            assert response.status == 400
            return
        assert "data" in body or body["errors"]
        for error in body.get("errors") or ():
            event(error["extensions"]["code"])
            assert error["message"]
    elif response.status == 200:
        assert media_type.startswith(("text/event-stream", "multipart/mixed", "text/html")), media_type


@pytest.mark.slow
@fuzz_settings(400, seconds=10)
@given(envelope=envelopes())
def test_any_operation_is_answered(fuzzed: FuzzServer, envelope: dict[str, object]) -> None:
    assert_graphql(fuzzed.exchange("POST", "/graphql", [JSON], json.dumps(envelope).encode()))


#: Nested too deeply for a recursive parser.
DEEP = (b"[" * 5_000 + b"]" * 5_000, b'{"query": "{ x }", "variables": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001)


@fuzz_settings(200, seconds=10)
@given(data=st.data())
def test_any_json_is_answered(fuzzed: FuzzServer, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(DEEP) | (envelopes() | json_values).map(lambda value: json.dumps(value).encode()))
    body = data.draw(
        damaged_bytes(whole, others=(b"\0", b"\xff", b"[" * 2_000, b"\\ud800", b"NaN", b"1e999", b'{"query":'))
    )

    assert_graphql(fuzzed.exchange("POST", "/graphql", [JSON], body))


@fuzz_settings(50, seconds=10)
@given(
    envelope=envelopes(),
    field=st.sampled_from(["query", "variables", "operationName", "extensions", "x"]),
    wrap=st.sampled_from([lambda text: text, lambda text: {text: 1}, lambda text: {"x": ["a" + text]}]),
    surrogate=st.characters(categories=["Cs"]),
)
def test_lone_surrogate_is_rejected(
    fuzzed: FuzzServer, envelope: dict[str, object], field: str, wrap: Callable[[str], object], surrogate: str
) -> None:
    envelope[field] = wrap(surrogate)

    response = fuzzed.exchange("POST", "/graphql", [JSON], json.dumps(envelope).encode())

    assert response is not None
    assert response.status == 400
    assert response.json()["errors"][0]["message"] == "The body is not valid JSON in UTF-8."


def header_values(names: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    part = st.builds(str.__add__, st.sampled_from(names), st.sampled_from(PARAMETERS))
    usual = st.lists(part, max_size=4).map(", ".join)
    wild = st.text(st.characters(max_codepoint=255, exclude_characters="\0\r\n"), max_size=30)
    return (usual | wild).map(lambda text: text.strip().encode("latin-1"))


HEADERS = st.lists(
    st.sampled_from(
        ["Accept", "Accept", "Content-Type", "Origin", "GraphQL-Preflight", "Range", "If-None-Match"]
    ).flatmap(lambda name: st.tuples(st.just(name), header_values(MEDIA_TYPES)))
    | st.tuples(
        st.sampled_from(["Upgrade", "Content-Encoding", "Cookie", "X-Forwarded-For", "Accept-Encoding"]),
        st.sampled_from([b"gzip", b"h2c", b"\xff", b"0"]),
    ),
    max_size=5,
)
BODY = b'{"query": "subscription { requestProgress(id: \\"req_0\\") { id } }"}'
BODIES = st.sampled_from([BODY, b'{"query": "{ limits { maxImages } }"}', b"", b"--x\r\n\r\n--x--\r\n", b"{"])


@fuzz_settings(300, seconds=10)
@given(headers=HEADERS, body=BODIES, method=st.sampled_from(["POST", "POST", "GET", "PUT", "HEAD", "OPTIONS", "X"]))
def test_any_headers_are_answered(
    fuzzed: FuzzServer, headers: list[tuple[str, bytes]], body: bytes, method: str
) -> None:
    if method == "POST" and not any(name == "Content-Type" for name, _ in headers):
        headers = [JSON, *headers]

    response = fuzzed.exchange(method, "/graphql", headers, body)

    if method == "POST":
        assert_graphql(response)


SEGMENTS = st.sampled_from(
    ["..", ".", "", "%2e%2e", "%00", "%2f", "\\", "req_0", "api", "a" * 300, "%ff", "%", "input.csv"]
)
SEGMENTS |= st.sampled_from(
    ["output.csv", "images", "~", ";", "%0d%0a", "req_0199d5b7c0007000800000000000000a", "1.jpg"]
)
SEGMENTS |= st.text(max_size=5).map(lambda text: quote(text, safe=""))
ROUTES = st.sampled_from(["/", "/graphql", "/api/image/", "/api/download/", "/static/", "/healthz", "/metrics/", "//"])
QUERIES = st.sampled_from(
    ["", "?", "?query=", "?query={__typename}&variables=[", "?query=%ff&extensions=1", "?query=%00"]
)


@fuzz_settings(300, seconds=10)
@given(route=ROUTES, path=st.lists(SEGMENTS, max_size=5).map("/".join), query=QUERIES, headers=HEADERS)
def test_any_url_is_answered(
    fuzzed: FuzzServer, route: str, path: str, query: str, headers: list[tuple[str, bytes]]
) -> None:
    fuzzed.exchange("GET", route + path + query, headers)


@fuzz_settings(200, seconds=10)
@given(envelope=envelopes())
def test_any_operation_in_a_url_is_answered(fuzzed: FuzzServer, envelope: dict[str, object]) -> None:
    fields = "&".join(
        f"{name.replace(chr(0), '%00')}={quote(text, safe='', errors='replace')}"
        for name, value in envelope.items()
        for text in [value if isinstance(value, str) else json.dumps(value)]
    )
    # The server accepts 64 KiB of URL and headers.
    assert_graphql(fuzzed.exchange("GET", f"/graphql?{fields[:30_000]}", []))
