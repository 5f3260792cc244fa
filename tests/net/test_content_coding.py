"""Content codings of image hosts: decoded within limits, and ignored where they were not applied."""

from __future__ import annotations

import gzip
import random
import sys
import zlib
from collections.abc import Callable

import brotli
import pytest

from gql_imgproc.errors import ImageErrorCode
from tests.support.image_host import LIMITS, Exchange, Script, fail_to_fetch, fetch

GIF = b"GIF89a" + bytes(range(256)) * 20
NOISE = random.Random(1).randbytes(600)
PAGE = b"<html>no image</html>"


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def zstd(data: bytes) -> bytes:
    if sys.version_info < (3, 14):
        pytest.skip("needs Python 3.14")
    from compression import zstd

    return zstd.compress(data)


def send(body: bytes, *encodings: str) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(body, "200 OK", *(f"Content-Encoding: {encoding}" for encoding in encodings))

    return script


@pytest.mark.parametrize(
    "encoding",
    [
        "none",
        "utf-8",
        "UTF-8",
        "binary",
        "identity",
        "",
        "gzip",
        "deflate",
        "br",
        "zstd",
        "x-gzip",
        "gzip, br",
        "compress",
    ],
)
async def test_coding_that_was_not_applied_is_ignored(encoding: str) -> None:
    assert await fetch(send(GIF, encoding)) == GIF


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("gzip, utf-8", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
        ("gzip, gzip", gzip.compress),
        ("br", brotli.compress),
        ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
        ("zstd", zstd),
    ],
)
@pytest.mark.parametrize("data", [GIF, PAGE])
async def test_coding_is_decoded(encoding: str, encode: Callable[[bytes], bytes], data: bytes) -> None:
    assert await fetch(send(encode(data), encoding)) == data


async def test_codings_of_two_headers_are_decoded() -> None:
    assert await fetch(send(gzip.compress(zlib.compress(GIF)), "deflate", "gzip")) == GIF


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_page_with_a_false_label_is_returned_as_it_is(encoding: str) -> None:
    assert await fetch(send(PAGE, encoding)) == PAGE


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (gzip.compress(GIF)[:-9], "gzip", "incomplete gzip data"),
        (gzip.compress(GIF)[:-8] + bytes(8), "gzip", "damaged gzip data"),
        (zlib.compress(GIF)[:-9], "deflate", "incomplete deflate data"),
        (brotli.compress(GIF)[:-9], "br", "incomplete br data"),
        (gzip.compress(gzip.compress(gzip.compress(PAGE))), "gzip, gzip, gzip", "encoded more than 2 times"),
    ],
    # Without the bytes, in which gzip writes the time.
    ids=["incomplete-gzip", "damaged-gzip", "incomplete-deflate", "incomplete-br", "three-times"],
)
async def test_coding_that_cannot_be_decoded_is_permanent(body: bytes, encoding: str, reason: str) -> None:
    error, host = await fail_to_fetch(send(body, encoding))

    assert (error.code, error.retryable) == (ImageErrorCode.NOT_AN_IMAGE, False)
    assert reason in error.message
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    ("encoding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress)]
)
async def test_small_response_that_unpacks_to_a_large_one_is_refused(
    encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    # Given bytes that unpack to 600 KB, of which the limits allow 100,000, and 100 bytes that unpack to 90,000.
    large, _ = await fail_to_fetch(send(encode(NOISE * 1_000), encoding))
    flat, _ = await fail_to_fetch(send(encode(bytes(90_000)), encoding))

    assert large.code is flat.code is ImageErrorCode.TOO_LARGE
    assert f"unpacks to more than the limit of {LIMITS.max_bytes:,} bytes" in large.message
    assert "unpacks to more than 200 times its size" in flat.message
