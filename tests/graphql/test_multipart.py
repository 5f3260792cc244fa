"""Uploads by the GraphQL multipart request specification: what is refused and how, and what is kept."""

from __future__ import annotations

import asyncio
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


def multipart(operations: Any, places: Any, **files: bytes) -> dict[str, Any]:
    def text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value)

    parts = {"operations": (None, text(operations)), "map": (None, text(places))}
    return {"files": parts | {name: ("shop.csv", data, "text/csv") for name, data in files.items()}}


OPERATIONS = {"query": UPLOAD, "variables": {"input": {"file": None}}}


PLACES = {"f": ["variables.input.file"]}


def body_of(size: int) -> tuple[dict[str, str], bytes]:
    """Headers and body of an upload whose body has so many bytes."""
    parts = (
        (b"operations", b"", json.dumps(OPERATIONS).encode() + b"\r\n"),
        (b"map", b"", json.dumps(PLACES).encode() + b"\r\n"),
        (b"f", b'; filename="shop.csv"', b""),
    )
    head = b"".join(b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b' % part for part in parts)
    tail = b"\r\n--x--\r\n"
    body = head + b"x" * (size - len(head) - len(tail)) + tail
    return PREFLIGHT | {"Content-Type": "multipart/form-data; boundary=x"}, body


@pytest.mark.parametrize("charset", ["undefined", "punycode", "idna", "unicode_escape", "utf-16", "nonsense"])
async def test_multipart_is_decoded_with_no_codec_that_a_caller_names(api: Api, charset: str) -> None:
    # Given a whole upload in the boundary `x`, as httpx would send it,
    whole = api.http.build_request(
        "POST", "/graphql", headers={"content-type": "multipart/form-data; boundary=x"},
        **multipart(OPERATIONS, PLACES, f=b"x"),
    )  # fmt: skip
    body = await whole.aread()

    async def answer(named: str) -> httpx.Response:
        headers = {"content-type": f"multipart/form-data; boundary=x; charset={named}", "GraphQL-Preflight": "1"}
        return await api.http.post("/graphql", headers=headers, content=body)

    # when its content type names a charset,
    refused, read = await answer(charset), await answer('"UTF-8"')

    # then it is that of GraphQL, or none.
    assert error_of(refused) == (
        415,
        "BAD_REQUEST",
        f"A multipart body is in UTF-8, not in '{charset}'. Leave out its charset.",
    )
    assert read.json()["data"]["uploadCsv"]["__typename"] == "CsvInvalid"


async def test_upload_needs_a_header_that_no_foreign_page_can_send(api: Api) -> None:
    bare = await api.http.post("/graphql", **multipart(OPERATIONS, PLACES, f=b"x"))
    named = [
        await api.http.post("/graphql", headers={name: "1"}, **multipart(OPERATIONS, PLACES, f=b"x"))
        for name in ("apollo-require-preflight", "X-Apollo-Operation-Name", "GraphQL-Preflight", "X-Requested-With")
    ]

    status, code, message = error_of(bare)
    assert (status, code) == (400, "BAD_REQUEST")
    assert message.startswith("A multipart request needs one of the headers Apollo-Require-Preflight,")
    assert [response.json()["data"]["uploadCsv"]["__typename"] for response in named] == ["CsvInvalid"] * 4


async def test_uploads_as_the_specification_has_them(api: Api) -> None:
    """https://github.com/jaydenseric/graphql-multipart-request-spec"""

    async def outcome(fields: list[tuple[str, tuple[str | None, Any]]]) -> Any:
        response = await api.http.post("/graphql", headers=PREFLIGHT, files=fields)
        return response.json()

    operations = ("operations", (None, json.dumps(OPERATIONS)))
    places = ("map", (None, json.dumps(PLACES)))
    file = ("f", ("shop.csv", b"x"))
    answers = [
        await outcome([operations, places, file]),
        # Files come last, the specification says; those that came first are there all the same.
        await outcome([file, places, operations]),
    ]

    assert answers == [{"data": {"uploadCsv": {"__typename": "CsvInvalid"}}}] * 2


async def test_a_batch_of_uploads_is_refused(api: Api) -> None:
    batch = multipart([OPERATIONS, OPERATIONS], {"f": ["0.variables.input.file"]}, f=b"x")
    response = await api.http.post("/graphql", headers=PREFLIGHT, **batch)

    assert error_of(response) == (
        400,
        "BAD_REQUEST",
        "The part `operations` is a list. Batches are not taken: send each operation in a request of its own.",
    )


@pytest.mark.parametrize(
    ("operations", "places"),
    [
        ("{", PLACES),
        ("null", PLACES),
        ("[]", PLACES),
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
        ({"query": UPLOAD}, PLACES),
        ({"query": UPLOAD, "variables": {"input": [None]}}, {"f": ["variables.input.x"]}),
        ({"query": UPLOAD, "variables": {"input": {"file": "taken"}}}, PLACES),
        ({"query": UPLOAD, "variables": {"files": [None]}}, {"f": ["variables.files.1"]}),
        ({"query": UPLOAD, "variables": {"files": [None]}}, {"f": ["variables.files.x"]}),
        (OPERATIONS, {"f": ["variables.input.file"], "missing": []}),
        (OPERATIONS, {"f": None}),
        ("[" * 100_000, PLACES),
        (OPERATIONS, '{"f":' * 100_000),
    ],
)
async def test_bad_multipart_is_refused(api: Api, operations: Any, places: Any) -> None:
    response = await api.http.post("/graphql", headers=PREFLIGHT, **multipart(operations, places, f=b"x"))

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
async def test_unreadable_multipart_is_refused(api: Api, content_type: str, body: bytes) -> None:
    response = await api.http.post("/graphql", headers=PREFLIGHT | {"Content-Type": content_type}, content=body)

    assert error_of(response)[:2] == (400, "BAD_REQUEST")


async def test_body_that_was_cut_off_is_told_so_and_nothing_happens(api: Api) -> None:
    # Given an upload whose last line says that another part follows,
    files = multipart(OPERATIONS, PLACES, f=b"S. No.,Product Name,Input Image Urls\n1,Shirt,https://shop.example/a\n")
    whole = api.http.build_request("POST", "/graphql", headers=PREFLIGHT, **files)

    # when it is sent,
    cut = whole.read().removesuffix(b"--\r\n") + b"\r\n"
    headers = PREFLIGHT | {"Content-Type": whole.headers["content-type"]}
    response = await api.http.post("/graphql", headers=headers, content=cut)

    # then it is refused as incomplete, and nothing came of it.
    assert error_of(response) == (
        400,
        "BAD_REQUEST",
        "The multipart body cannot be read. It has no closing boundary, so its end is missing. Send it again.",
    )
    assert (await api.data("{ requests { totalCount } }"))["requests"]["totalCount"] == 0


@pytest.mark.parametrize("file", ["a string", {"name": "x"}, {}, 7, True, None, [None]])
async def test_upload_given_as_something_else_is_a_clean_error(api: Api, file: Any) -> None:
    body = await api.answer(UPLOAD, input={"file": file})

    assert body["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert "$input" in body["errors"][0]["message"]


async def test_upload_in_the_document_is_a_clean_error(api: Api) -> None:
    for literal in ('"x"', "7", '{name: "x"}', "[]", "x", "null"):
        body = await api.answer(f"mutation {{ uploadCsv(input: {{file: {literal}}}) {{ __typename }} }}")

        (error,) = body["errors"]
        assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert "only be given as a variable" in error["message"] or literal == "null"
    assert (await api.data("{ requests { totalCount } }"))["requests"]["totalCount"] == 0


async def test_files_of_an_upload_are_closed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str | None] = []
    close = UploadFile.close

    async def note(self: UploadFile) -> None:
        closed.append(self.filename)
        await close(self)

    monkeypatch.setattr(UploadFile, "close", note)

    await api.http.post("/graphql", headers=PREFLIGHT, **multipart(OPERATIONS, PLACES, f=b"x"))

    assert closed == ["shop.csv"]


#: Ten times the 10,000 bytes of a file, and what may stand beside it.
BOUND_BYTES = 100_000 + 1024 * 1024


TOO_LARGE = (
    413,
    "PAYLOAD_TOO_LARGE",
    "The body is too large: the file in it may have 10,000 bytes, and all the rest of it 1,048,576."
    " Split the file into smaller ones.",
)


@pytest.mark.parametrize("declared", [True, False])
async def test_file_over_the_limit_is_told_so_up_to_a_bound(api: Api, declared: bool) -> None:
    # Given a body as large as any that is read, and one that has one byte more,
    taken: list[int] = []

    async def dripping(body: bytes) -> Any:
        for start in range(0, len(body), 64 * 1024):
            taken.append(start)
            yield body[start : start + 64 * 1024]

    # when they are sent,
    answers = []
    for size in (BOUND_BYTES, BOUND_BYTES + 1):
        taken.clear()
        headers, body = body_of(size)
        length = {"Content-Length": str(size)} if declared else {}
        answers.append(await api.http.post("/graphql", headers=headers | length, content=dripping(body)))

    # then the first is read to its end and answered by the mutation, the other is refused, at once if it can be.
    assert answers[0].json() == {"data": {"uploadCsv": {"__typename": "UploadTooLarge"}}}
    assert error_of(answers[1]) == TOO_LARGE
    assert len(taken) == (0 if declared else 18)


def test_what_is_beyond_the_limit_is_not_kept() -> None:
    # Given an upload of 1 MB where a file may have 10,000 bytes,
    headers, body = body_of(1_000_000)

    async def dripping() -> Any:
        for start in range(0, len(body), 1_000):
            yield body[start : start + 1_000]

    # when it is parsed,
    form = asyncio.run(UploadParser(Headers(headers), dripping(), max_file_bytes=10_000).parse())

    # then one byte more than allowed tells that it is too large.
    file = form["f"]
    assert isinstance(file, UploadFile)
    with file.file:
        assert file.size == 10_001
        assert file.file.read() == b"x" * 10_001


async def test_all_that_is_kept_is_limited_together(api: Api) -> None:
    fields = multipart(OPERATIONS | {"extensions": {"x": "y" * 600_000}}, PLACES, f=b"x")
    fields["files"]["more"] = (None, "y" * 600_000)

    too_much = await api.http.post("/graphql", headers=PREFLIGHT, **fields)

    assert error_of(too_much) == TOO_LARGE


TWICE = {
    "query": "mutation($a: UploadCsvInput!, $b: UploadCsvInput!) {"
    " a: uploadCsv(input: $a) { __typename } b: uploadCsv(input: $b) { __typename } }",
    "variables": {"a": {"file": None}, "b": {"file": None}},
}


@pytest.mark.parametrize(
    ("operations", "places", "files", "message"),
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
            "`map` names several places. One request can upload one file, in one place.",
        ),
        (OPERATIONS, {}, "f", "The file part 'f' is not named in `map`, so it has no place."),
        (
            OPERATIONS,
            {"g": ["variables.input.file"]},
            "f",
            "The file part 'f' is not named in `map`, so it has no place.",
        ),
        (OPERATIONS, PLACES, "", "`map` names the file part 'f', which is missing."),
    ],
)
async def test_one_file_in_one_place(api: Api, operations: Any, places: Any, files: str, message: str) -> None:
    csv = b"S. No.,Product Name,Input Image Urls\n1,Shirt,https://shop.example/a\n"

    response = await api.http.post(
        "/graphql", headers=PREFLIGHT, **multipart(operations, places, **dict.fromkeys(files, csv))
    )

    assert error_of(response) == (400, "BAD_REQUEST", message)
    assert (await api.data("{ requests { totalCount } }"))["requests"]["totalCount"] == 0
    assert await api.runtime.storage.list_keys("requests/") == []


@pytest.mark.parametrize(
    ("accept", "status"),
    [("*/*", 413), ("application/json", 413), ("application/graphql-response+json, application/json;q=0.9", 200)],
)
async def test_file_over_the_limit_has_a_status_where_the_specification_leaves_the_choice(
    api: Api, accept: str, status: int
) -> None:
    too_large, small = (multipart(OPERATIONS, PLACES, f=b"x" * size) for size in (10_001, 10_000))

    answers = [
        await api.http.post("/graphql", headers=PREFLIGHT | {"Accept": accept}, **sent) for sent in (too_large, small)
    ]

    assert [answer.json()["data"]["uploadCsv"]["__typename"] for answer in answers] == [
        "UploadTooLarge",
        "CsvInvalid",
    ]
    assert [answer.status_code for answer in answers] == [status, 200]
