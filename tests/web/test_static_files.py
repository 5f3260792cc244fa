"""Scripts and styles, plain and compressed."""

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
#: The bytes need not be Brotli's: the server sends what the build has laid there.
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


async def raw(api: Api, path: str, **headers: str) -> tuple[Any, bytes]:
    """The answer, and its body as it came over the wire."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with api.http.stream("GET", path, headers=sent) as answer:
        return answer, b"".join([part async for part in answer.aiter_raw()])


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
async def test_a_script_is_sent_in_the_smallest_form_the_browser_takes(
    built: Path, api: Api, accept: str, coding: str | None, body: bytes
) -> None:
    answer, sent = await raw(api, "/static/graphiql/graphiql.js", Accept_Encoding=accept)

    assert answer.status_code == 200
    assert answer.headers.get("content-encoding") == coding
    assert sent == body
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["vary"] == "Accept-Encoding"


async def test_what_was_not_compressed_is_sent_as_it_is(built: Path, api: Api) -> None:
    answer, sent = await raw(api, "/static/favicon.svg", Accept_Encoding="br, gzip")
    missing, _ = await raw(api, "/static/nothing.js", Accept_Encoding="br, gzip")
    outside, _ = await raw(api, "/static/%2e%2e/imgproc.db", Accept_Encoding="br, gzip")
    posted = await api.http.post("/static/graphiql/graphiql.js")

    assert (sent, "content-encoding" in answer.headers) == (b"<svg/>", False)
    assert answer.headers["vary"] == "Accept-Encoding"
    assert [missing.status_code, outside.status_code, posted.status_code] == [404, 404, 405]


async def test_each_form_has_its_own_tag(built: Path, api: Api) -> None:
    path = "/static/graphiql/graphiql.js"
    forms = {coding: (await raw(api, path, Accept_Encoding=coding))[0] for coding in ("br", "gzip", "identity")}

    tags = {coding: answer.headers["etag"] for coding, answer in forms.items()}
    assert len(set(tags.values())) == 3
    for coding, tag in tags.items():
        again, body = await raw(api, path, Accept_Encoding=coding, If_None_Match=tag)
        assert (again.status_code, body, again.headers["vary"]) == (304, b"", "Accept-Encoding")
    other, _ = await raw(api, path, Accept_Encoding="br", If_None_Match=tags["gzip"])
    assert other.status_code == 200


@pytest.mark.parametrize("header", ["br;q=nonsense", "br;q=0.0", "brotli", "*", ";;,,", "br;level=1"])
def test_a_coding_is_taken_only_when_it_is_clearly_wanted(header: str) -> None:
    assert accepted_encodings(header) == []
