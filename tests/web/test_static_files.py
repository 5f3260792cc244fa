"""Static files, plain and compressed."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from gql_imgproc.web import pages
from gql_imgproc.web.static_files import accepted_encodings
from tests.graphql.client import Api

SCRIPT = b"1;" * 1_000
GZIP = gzip.compress(SCRIPT, mtime=0)
#: Not real Brotli: the server sends the file of the build unchanged.
BROTLI = b"brotli"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    static = tmp_path / "static"
    (static / "graphiql").mkdir(parents=True)
    (static / "graphiql" / "graphiql.js").write_bytes(SCRIPT)
    (static / "graphiql" / "graphiql.js.gz").write_bytes(GZIP)
    (static / "graphiql" / "graphiql.js.br").write_bytes(BROTLI)
    (static / "favicon.svg").write_text("<svg/>")
    monkeypatch.setattr(pages, "STATIC", static)
    return static


async def get_raw(api: Api, path: str, **headers: str) -> tuple[Any, bytes]:
    """Returns the response and its body before decompression."""
    request_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with api.http.stream("GET", path, headers=request_headers) as response:
        return response, b"".join([part async for part in response.aiter_raw()])


@pytest.mark.parametrize(
    ("accept", "coding", "body"),
    [
        ("gzip, deflate, br, zstd", "br", BROTLI),
        ("gzip;q=1.0, br;q=0", "gzip", GZIP),
        ("gzip, deflate", "gzip", GZIP),
        ("GZIP", "gzip", GZIP),
        ("identity", None, SCRIPT),
        ("", None, SCRIPT),
    ],
    ids=["br", "weights", "gzip", "case", "identity", "none"],
)
async def test_script_is_sent_in_the_smallest_accepted_coding(
    built: Path, api: Api, accept: str, coding: str | None, body: bytes
) -> None:
    response, sent = await get_raw(api, "/static/graphiql/graphiql.js", Accept_Encoding=accept)

    assert response.status_code == 200
    assert response.headers.get("content-encoding") == coding
    assert sent == body
    assert response.headers["content-length"] == str(len(body))
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    assert response.headers["vary"] == "Accept-Encoding"


async def test_file_without_a_compressed_version_is_sent_unchanged(built: Path, api: Api) -> None:
    response, sent = await get_raw(api, "/static/favicon.svg", Accept_Encoding="br, gzip")
    missing, _ = await get_raw(api, "/static/nothing.js", Accept_Encoding="br, gzip")
    outside, _ = await get_raw(api, "/static/%2e%2e/imgproc.db", Accept_Encoding="br, gzip")
    posted = await api.http.post("/static/graphiql/graphiql.js")

    assert (sent, "content-encoding" in response.headers) == (b"<svg/>", False)
    assert response.headers["vary"] == "Accept-Encoding"
    assert [missing.status_code, outside.status_code, posted.status_code] == [404, 404, 405]


async def test_each_coding_has_its_own_etag(built: Path, api: Api) -> None:
    path = "/static/graphiql/graphiql.js"
    responses = {coding: (await get_raw(api, path, Accept_Encoding=coding))[0] for coding in ("br", "gzip", "identity")}

    etags = {coding: response.headers["etag"] for coding, response in responses.items()}
    assert len(set(etags.values())) == 3
    for coding, etag in etags.items():
        again, body = await get_raw(api, path, Accept_Encoding=coding, If_None_Match=etag)
        assert (again.status_code, body, again.headers["vary"]) == (304, b"", "Accept-Encoding")
    other, _ = await get_raw(api, path, Accept_Encoding="br", If_None_Match=etags["gzip"])
    assert other.status_code == 200


@pytest.mark.parametrize("header", ["br;q=nonsense", "br;q=0.0", "brotli", "*", ";;,,"])
def test_malformed_codings_are_not_accepted(header: str) -> None:
    assert accepted_encodings(header) == []
