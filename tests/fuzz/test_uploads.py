"""Unusual multipart bodies: boundaries, headers, names, paths of files, and missing parts."""

from __future__ import annotations

import json

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.fuzz.asgi_client import FuzzServer
from tests.fuzz.documents import json_values
from tests.fuzz.limits import fuzz_settings
from tests.fuzz.mutations import damaged_bytes, rearranged_parts
from tests.fuzz.test_operations import assert_graphql

UPLOAD = "mutation($input: UploadCsvInput!) { uploadCsv(input: $input) { __typename } }"
CSV = b"S. No.,Product Name,Input Image Urls\n1,Lamp,https://shop.example/1.jpg\n"
BOUNDARIES = (b"x", b"x", b"----WebKitFormBoundary7MA4YWxkTrZu0gW", b"a b", b"'", b"-", b"--", b"x" * 200, b"\xff")
PATHS = ("variables.input.file", "variables.input", "variables", "variables.input.file.x", "variables.files.0", "query")
PATHS += (
    "variables.files.-1",
    "variables.files.9",
    "variables.files.x",
    "variables.files.99999999999999999999",
    "",
    ".",
)
PATHS += (
    "variables.input.webhookUrl",
    "variables.input.options",
    "variables.",
    ".variables",
    "operationName",
    "0.variables",
)
PATHS += (
    "variables.input.options.crop.x",
    "variables.\0",
    "variables.__class__",
    "a." * 500,
    "variables.input.file.filename",
)
DISPOSITIONS = (
    b'form-data; name="%b"; filename="shop.csv"',
    b'form-data; name="%b"; filename=""',
    b'form-data; name="%b"; filename="../../etc/passwd"',
    b'form-data; name="%b"; filename="a\\"b"',
    b"form-data; name=\"%b\"; filename*=UTF-8''%%e2%%82%%ac.csv",
    b"form-data; name=\"%b\"; filename*=nonsense''%%ff",
    b'form-data; name="%b"; filename="\xff\xfe\0"',
    b'form-data; name="%b"; filename="' + b"x" * 3_000 + b'"',
    b'form-data; name="%b"; name="0"',
    b'form-data; name="%b"',
    b"form-data; name=%b",
    b'attachment; name="%b"',
    b"form-data%.0b",
    b"%.0b",
    b';%.0b;;="',
)
#: Python has codecs with unusual errors.
CHARSETS = (b"; charset=nonsense", b"; charset=utf-7", b";;", b"; charset=undefined", b"; charset=punycode")
CHARSETS += (b"; charset=idna", b"; charset=unicode_escape", b'; charset="UTF-8"')
PART_HEADERS = (
    b"Content-Type: text/csv\r\n",
    b"Content-Type: text/csv; charset=nonsense\r\n",
    b"Content-Type: application/json; charset=utf-16\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"X: \xff\r\n",
    b"no colon\r\n",
    b": no name\r\n",
    b"X: " + b"x" * 9_000 + b"\r\n",
    b"",
)


path_lists = st.lists(st.sampled_from(PATHS), max_size=3)
file_maps = st.one_of(
    *[st.just({"0": ["variables.input.file"]})] * 2,
    st.dictionaries(st.just("0"), path_lists, min_size=1),
    st.dictionaries(st.sampled_from(["0", "1", "operations", "map", ""]), path_lists, max_size=3),
    json_values,
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A value for `Content-Type`, and a body that almost matches it."""

    def mostly(usual: bytes, unusual: tuple[bytes, ...]) -> bytes:
        return draw(st.sampled_from(unusual)) if draw(st.integers(0, 24)) == 0 else usual

    boundary = mostly(b"x", BOUNDARIES)
    wild = draw(st.integers(0, 5)) == 0
    variables = draw(json_values) if wild else {"input": {"file": None}, "files": [None, 1]}
    operation = draw(json_values) if draw(st.integers(0, 19)) == 0 else {"query": UPLOAD, "variables": variables}
    file_map = draw(file_maps)

    def part(name: bytes, content: bytes, disposition: bytes) -> bytes:
        headers = b"Content-Disposition: " + mostly(disposition, DISPOSITIONS) % name + b"\r\n"
        return b"--" + boundary + b"\r\n" + headers + mostly(b"", PART_HEADERS) + b"\r\n" + content + b"\r\n"

    field, file = DISPOSITIONS[9], DISPOSITIONS[0]
    parts = [
        part(b"operations", mostly(json.dumps(operation).encode(), (b"\xff", b"", b'"\\ud800"', b"[" * 2_000)), field),
        part(b"map", mostly(json.dumps(file_map).encode(), (b"null", b"", b'{"0":', b"\xff\xfe{}")), field),
        part(b"0", mostly(CSV, (b"", b"\r\n--" + boundary, b"x" * 30_000, b"\0")), file),
        mostly(b"--" + boundary + b"--\r\n", (b"", b"--" + boundary, b"--" + boundary + b"--", b"--\r\n")),
    ]
    if draw(st.integers(0, 4)) == 0:
        parts = draw(rearranged_parts(parts, [b"\r\n", b"--" + boundary + b"--\r\n", b"--\r\n"], most=2))
    body = b"".join(parts)
    if draw(st.integers(0, 4)) == 0:
        body = draw(damaged_bytes(body, most=3, others=(b"\r\n", b"\r\n\r\n", b"\n", b'"', b"--" + boundary)))
    parameter = mostly(
        b"; boundary=" + boundary,
        (
            b'; boundary="' + boundary + b'"',
            b"",
            b"; boundary=",
            b"; boundary=y",
            b"; boundary",
            b"; charset=utf-16; boundary=x",
        ),
    )
    return b"multipart/form-data" + parameter + mostly(b"", CHARSETS), body


@pytest.mark.slow
@fuzz_settings(700, seconds=10)
@given(sent=bodies())
def test_any_multipart_body_is_answered(fuzzed: FuzzServer, sent: tuple[bytes, bytes]) -> None:
    content_type, body = sent

    response = fuzzed.exchange(
        "POST", "/graphql", [("Content-Type", content_type.replace(b"\0", b"")), ("GraphQL-Preflight", b"1")], body
    )

    assert_graphql(response)
    if (
        response is not None
        and b"uploadCsv" in response.body
        and response.status == 200
        and response.json().get("data")
    ):
        event(response.json()["data"]["uploadCsv"]["__typename"])
