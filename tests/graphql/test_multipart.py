"""Uploads as the GraphQL multipart request specification defines them: parsing, limits and errors."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers, UploadFile

from gql_imgproc.graphql.multipart import UploadParser
from tests.graphql.client import Api, error_of


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


UPLOAD = "mutation($input: UploadCsvInput!) { uploadCsv(input: $input) { __typename } }"


PREFLIGHT = {"Apollo-Require-Preflight": "true"}


def multipart(operations: Any, file_map: Any, **files: bytes) -> dict[str, Any]:
    def text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value)

    parts = {"operations": (None, text(operations)), "map": (None, text(file_map))}
    return {"files": parts | {name: ("shop.csv", data, "text/csv") for name, data in files.items()}}


OPERATIONS = {"query": UPLOAD, "variables": {"input": {"file": None}}}


FILE_MAP = {"f": ["variables.input.file"]}


def body_of(size: int) -> tuple[dict[str, str], bytes]:
    """Headers and body of an upload whose body has `size` bytes."""
    parts = (
        (b"operations", b"", json.dumps(OPERATIONS).encode() + b"\r\n"),
        (b"map", b"", json.dumps(FILE_MAP).encode() + b"\r\n"),
        (b"f", b'; filename="shop.csv"', b""),
    )
    head = b"".join(b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b' % part for part in parts)
    tail = b"\r\n--x--\r\n"
    body = head + b"x" * (size - len(head) - len(tail)) + tail
    return PREFLIGHT | {"Content-Type": "multipart/form-data; boundary=x"}, body


@pytest.mark.parametrize("charset", ["undefined", "punycode", "idna", "unicode_escape", "utf-16", "nonsense"])
async def test_multipart_must_be_utf_8(api: Api, charset: str) -> None:
    # Given the body of an upload with the boundary `x`,
    whole = api.http.build_request(
        "POST", "/graphql", headers={"content-type": "multipart/form-data; boundary=x"},
        **multipart(OPERATIONS, FILE_MAP, f=b"x"),
    )  # fmt: skip
    body = await whole.aread()

    async def send(charset: str) -> httpx.Response:
        headers = {"content-type": f"multipart/form-data; boundary=x; charset={charset}", "GraphQL-Preflight": "1"}
        return await api.http.post("/graphql", headers=headers, content=body)

    # when its content type names a charset,
    rejected, accepted = await send(charset), await send('"UTF-8"')

    # then only UTF-8 is accepted.
    assert error_of(rejected) == (
        415,
        "BAD_REQUEST",
        f"A multipart body must be in UTF-8, not '{charset}'. Omit the charset.",
    )
    assert accepted.json()["data"]["uploadCsv"]["__typename"] == "CsvInvalid"


async def test_upload_needs_a_header_against_csrf(api: Api) -> None:
    without_header = await api.http.post("/graphql", **multipart(OPERATIONS, FILE_MAP, f=b"x"))
    with_header = [
        await api.http.post("/graphql", headers={name: "1"}, **multipart(OPERATIONS, FILE_MAP, f=b"x"))
        for name in ("apollo-require-preflight", "X-Apollo-Operation-Name", "GraphQL-Preflight", "X-Requested-With")
    ]

    status, code, message = error_of(without_header)
    assert (status, code) == (400, "BAD_REQUEST")
    assert message.startswith("A multipart request needs one of the headers Apollo-Require-Preflight,")
    assert [response.json()["data"]["uploadCsv"]["__typename"] for response in with_header] == ["CsvInvalid"] * 4


async def test_upload_follows_the_specification(api: Api) -> None:
    """https://github.com/jaydenseric/graphql-multipart-request-spec"""

    async def send(fields: list[tuple[str, tuple[str | None, Any]]]) -> Any:
        response = await api.http.post("/graphql", headers=PREFLIGHT, files=fields)
        return response.json()

    operations = ("operations", (None, json.dumps(OPERATIONS)))
    file_map = ("map", (None, json.dumps(FILE_MAP)))
    file = ("f", ("shop.csv", b"x"))
    bodies = [
        await send([operations, file_map, file]),
        # By the specification files come last; other orders are accepted too.
        await send([file, file_map, operations]),
    ]

    assert bodies == [{"data": {"uploadCsv": {"__typename": "CsvInvalid"}}}] * 2


async def test_batch_of_uploads_is_rejected(api: Api) -> None:
    batch = multipart([OPERATIONS, OPERATIONS], {"f": ["0.variables.input.file"]}, f=b"x")
    response = await api.http.post("/graphql", headers=PREFLIGHT, **batch)

    assert error_of(response) == (
        400,
        "BAD_REQUEST",
        "The part `operations` is a list. Batches are not supported: send each operation in its own request.",
    )


@pytest.mark.parametrize(
    ("operations", "file_map"),
    [
        ("{", FILE_MAP),
        ("null", FILE_MAP),
        ("[]", FILE_MAP),
        (OPERATIONS, "{"),
        (OPERATIONS, "[]"),
        (OPERATIONS, {"f": "variables.input.file"}),
        (OPERATIONS, {"f": [7]}),
        (OPERATIONS, {"g": ["variables.input.file"]}),
        (OPERATIONS, {"operations": ["variables.input.file"]}),
        (OPERATIONS, {"f": ["variables"]}),
        (OPERATIONS, {"f": [""]}),
        (OPERATIONS, {"f": ["query"]}),
        (OPERATIONS, {"f": ["variables.input.other"]}),
        (OPERATIONS, {"f": ["variables.input.file.deeper"]}),
        (OPERATIONS, {"f": ["variables.input.file", "variables.input.file"]}),
        (OPERATIONS, {}),
        ({"query": UPLOAD}, FILE_MAP),
        ({"query": UPLOAD, "variables": {"input": [None]}}, {"f": ["variables.input.x"]}),
        ({"query": UPLOAD, "variables": {"input": {"file": "taken"}}}, FILE_MAP),
        ({"query": UPLOAD, "variables": {"files": [None]}}, {"f": ["variables.files.1"]}),
        ({"query": UPLOAD, "variables": {"files": [None]}}, {"f": ["variables.files.x"]}),
        (OPERATIONS, {"f": ["variables.input.file"], "missing": []}),
        (OPERATIONS, {"f": None}),
        ("[" * 100_000, FILE_MAP),
        (OPERATIONS, '{"f":' * 100_000),
    ],
)
async def test_invalid_multipart_operation_is_rejected(api: Api, operations: Any, file_map: Any) -> None:
    response = await api.http.post("/graphql", headers=PREFLIGHT, **multipart(operations, file_map, f=b"x"))

    assert error_of(response)[:2] == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"nonsense"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="operations"\r\n\r\n{}'),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n{}\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", body_of(1_000)[1].removesuffix(b"--\r\n")),
        ("multipart/form-data; boundary=x", body_of(1_000)[1].removesuffix(b"--\r\n") + b"\r\n"),
        ("multipart/form-data; boundary=x", body_of(1_000)[1].removesuffix(b"-\r\n")),
        ("multipart/form-data; boundary=x", body_of(1_000)[1].removesuffix(b"\r\n--x--\r\n")),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n1\r\n' * 11 + b"--x--\r\n",
        ),
    ],
)
async def test_malformed_multipart_body_is_rejected(api: Api, content_type: str, body: bytes) -> None:
    response = await api.http.post("/graphql", headers=PREFLIGHT | {"Content-Type": content_type}, content=body)

    assert error_of(response)[:2] == (400, "BAD_REQUEST")


async def test_truncated_body_is_rejected_and_creates_no_request(api: Api) -> None:
    # Given an upload whose closing boundary is missing,
    files = multipart(OPERATIONS, FILE_MAP, f=b"S. No.,Product Name,Input Image Urls\n1,Shirt,https://shop.example/a\n")
    whole = api.http.build_request("POST", "/graphql", headers=PREFLIGHT, **files)

    # when it is sent,
    truncated = whole.read().removesuffix(b"--\r\n") + b"\r\n"
    headers = PREFLIGHT | {"Content-Type": whole.headers["content-type"]}
    response = await api.http.post("/graphql", headers=headers, content=truncated)

    # then it is rejected as incomplete, and no request is created.
    assert error_of(response) == (
        400,
        "BAD_REQUEST",
        "The multipart body cannot be read. Its closing boundary is missing. Send the whole body again.",
    )
    assert (await api.data("{ requests { totalCount } }"))["requests"]["totalCount"] == 0


@pytest.mark.parametrize("file", ["a string", {"name": "x"}, {}, 7, True, None, [None]])
async def test_upload_variable_without_file_is_an_error(api: Api, file: Any) -> None:
    body = await api.execute(UPLOAD, input={"file": file})

    assert body["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert "$input" in body["errors"][0]["message"]


async def test_upload_literal_is_an_error(api: Api) -> None:
    for literal in ('"x"', "7", '{name: "x"}', "[]", "x", "null"):
        body = await api.execute(f"mutation {{ uploadCsv(input: {{file: {literal}}}) {{ __typename }} }}")

        (error,) = body["errors"]
        assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert "must be a variable" in error["message"] or literal == "null"
    assert (await api.data("{ requests { totalCount } }"))["requests"]["totalCount"] == 0


async def test_files_of_an_upload_are_closed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str | None] = []
    close = UploadFile.close

    async def record(self: UploadFile) -> None:
        closed.append(self.filename)
        await close(self)

    monkeypatch.setattr(UploadFile, "close", record)

    await api.http.post("/graphql", headers=PREFLIGHT, **multipart(OPERATIONS, FILE_MAP, f=b"x"))

    assert closed == ["shop.csv"]


#: Ten times the 10,000 bytes of a file, and the margin for the rest.
MAX_READ_BYTES = 100_000 + 1024 * 1024


TOO_LARGE = (
    413,
    "PAYLOAD_TOO_LARGE",
    "The body is too large: at most 10,000 bytes for the file and 1,048,576 bytes for the rest are allowed."
    " Split the file into smaller ones.",
)


@pytest.mark.parametrize("has_length", [True, False])
async def test_oversized_file_is_a_typed_error_up_to_a_bound(api: Api, has_length: bool) -> None:
    # Given a body of the largest size that is read, and one with one byte more,
    chunks_read: list[int] = []

    async def chunks(body: bytes) -> Any:
        for start in range(0, len(body), 64 * 1024):
            chunks_read.append(start)
            yield body[start : start + 64 * 1024]

    # when they are sent,
    responses = []
    for size in (MAX_READ_BYTES, MAX_READ_BYTES + 1):
        chunks_read.clear()
        headers, body = body_of(size)
        length = {"Content-Length": str(size)} if has_length else {}
        responses.append(await api.http.post("/graphql", headers=headers | length, content=chunks(body)))

    # then the mutation answers the first, and the other is rejected, unread if it has a length.
    assert responses[0].json() == {"data": {"uploadCsv": {"__typename": "UploadTooLarge"}}}
    assert error_of(responses[1]) == TOO_LARGE
    assert len(chunks_read) == (0 if has_length else 18)


async def test_bytes_above_the_limit_are_dropped() -> None:
    # Given an upload of 1 MB with a limit of 10,000 bytes,
    headers, body = body_of(1_000_000)

    async def chunks() -> Any:
        for start in range(0, len(body), 1_000):
            yield body[start : start + 1_000]

    # when it is parsed,
    form = await UploadParser(Headers(headers), chunks(), max_file_bytes=10_000).parse()

    # then one byte more than the limit is kept, so that the size check fails.
    file = form["f"]
    assert isinstance(file, UploadFile)
    with file.file:
        assert file.size == 10_001
        assert file.file.read() == b"x" * 10_001


async def test_total_of_all_parts_is_limited(api: Api) -> None:
    fields = multipart(OPERATIONS | {"extensions": {"x": "y" * 600_000}}, FILE_MAP, f=b"x")
    fields["files"]["more"] = (None, "y" * 600_000)

    too_much = await api.http.post("/graphql", headers=PREFLIGHT, **fields)

    assert error_of(too_much) == TOO_LARGE


TWICE = {
    "query": "mutation($a: UploadCsvInput!, $b: UploadCsvInput!) {"
    " a: uploadCsv(input: $a) { __typename } b: uploadCsv(input: $b) { __typename } }",
    "variables": {"a": {"file": None}, "b": {"file": None}},
}


@pytest.mark.parametrize(
    ("operations", "file_map", "files", "message"),
    [
        (
            TWICE,
            {"f": ["variables.a.file"], "g": ["variables.b.file"]},
            "fg",
            "The multipart body cannot be read. Too many files. Maximum number of files is 1.",
        ),
        (
            TWICE,
            {"f": ["variables.a.file", "variables.b.file"]},
            "f",
            "`map` has several paths. Upload one file per request, to one path.",
        ),
        (OPERATIONS, {}, "f", "`map` has no path for the file part 'f'."),
        (
            OPERATIONS,
            {"g": ["variables.input.file"]},
            "f",
            "`map` has no path for the file part 'f'.",
        ),
        (OPERATIONS, FILE_MAP, "", "`map` names the file part 'f', which is missing."),
    ],
)
async def test_only_one_file_with_one_path_is_accepted(
    api: Api, operations: Any, file_map: Any, files: str, message: str
) -> None:
    csv = b"S. No.,Product Name,Input Image Urls\n1,Shirt,https://shop.example/a\n"

    response = await api.http.post(
        "/graphql", headers=PREFLIGHT, **multipart(operations, file_map, **dict.fromkeys(files, csv))
    )

    assert error_of(response) == (400, "BAD_REQUEST", message)
    assert (await api.data("{ requests { totalCount } }"))["requests"]["totalCount"] == 0
    assert await api.runtime.storage.list_keys("requests/") == []


@pytest.mark.parametrize(
    ("accept", "status"),
    [("*/*", 413), ("application/json", 413), ("application/graphql-response+json, application/json;q=0.9", 200)],
)
async def test_oversized_file_has_status_413_where_the_specification_allows_it(
    api: Api, accept: str, status: int
) -> None:
    too_large, small = (multipart(OPERATIONS, FILE_MAP, f=b"x" * size) for size in (10_001, 10_000))

    responses = [
        await api.http.post("/graphql", headers=PREFLIGHT | {"Accept": accept}, **sent) for sent in (too_large, small)
    ]

    assert [response.json()["data"]["uploadCsv"]["__typename"] for response in responses] == [
        "UploadTooLarge",
        "CsvInvalid",
    ]
    assert [response.status_code for response in responses] == [status, 200]
