"""Decodes the content codings of a response, within limits. The bytes decide whether a coding was applied."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

import brotli

from gql_imgproc.errors import ImageError
from gql_imgproc.imaging.formats import detect_format
from gql_imgproc.net.fetch_errors import FetchError, FetchErrorKind

#: Decoded bytes per received byte. Codings hardly make an image smaller, except a bitmap with areas of one color.
MAX_RATIO = 200
#: Codings of one response. Each may cost as much CPU time as `max_bytes` take to decode.
MAX_CODINGS = 2
_MAGIC = {"gzip": b"\x1f\x8b", "x-gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "deflate": b"", "br": b""}


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Brotli:
    def __init__(self) -> None:
        self._decoder = brotli.Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._decoder.is_finished())

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return bytes(self._decoder.process(data, output_buffer_limit=max_length))


#: The standard says zlib for deflate, and some hosts send it raw.
_WITHOUT_MAGIC: dict[str, tuple[Callable[[], _Decompressor], ...]] = {
    "deflate": (zlib.decompressobj, lambda: zlib.decompressobj(-zlib.MAX_WBITS)),
    "br": (_Brotli,),
}


def decode_body(data: bytes, content_encoding: str, host: str, max_bytes: int) -> bytes:
    """Return the bytes without their codings. Codings that are unknown or were not applied are ignored."""
    names = [part.strip() for part in content_encoding.lower().split(",")]
    codings = [name for name in reversed(names) if name in _MAGIC]
    for count, coding in enumerate(codings, 1):
        if _is_image(data):
            break
        if count > MAX_CODINGS:
            raise _undecodable(host, f"encoded more than {MAX_CODINGS} times")
        decompressor = _open(coding, data, host)
        if decompressor is not None:
            data = _decode(decompressor, coding, data, host, max_bytes)
    return data


def _open(coding: str, data: bytes, host: str) -> _Decompressor | None:
    """Return a decompressor; None if the data is not in this coding."""
    if not data.startswith(_MAGIC[coding]):
        return None
    if coding in _WITHOUT_MAGIC:
        return next((make() for make in _WITHOUT_MAGIC[coding] if _fits(make(), data)), None)
    if coding.endswith("gzip"):
        return zlib.decompressobj(zlib.MAX_WBITS + 16)
    if sys.version_info >= (3, 14) and coding == "zstd":
        from compression import zstd

        return zstd.ZstdDecompressor()
    raise _undecodable(host, f"with the Content-Encoding {coding}, which this service cannot decode")


def _fits(decompressor: _Decompressor, data: bytes) -> bool:
    """Whether the first bytes are in the coding. Other data is refused within these."""
    try:
        decompressor.decompress(data, 1_024)
    except (zlib.error, brotli.error):
        return False
    return True


def _decode(decompressor: _Decompressor, coding: str, data: bytes, host: str, max_bytes: int) -> bytes:
    limit = min(max_bytes, MAX_RATIO * len(data))
    try:
        decoded = decompressor.decompress(data, limit + 1)
    # The errors of zlib, brotli and zstd have no common base class.
    except Exception:
        raise _undecodable(host, f"as damaged {coding} data") from None
    if len(decoded) > limit:
        size = f"the limit of {max_bytes:,} bytes" if limit == max_bytes else f"{MAX_RATIO} times its size"
        raise FetchError(FetchErrorKind.TOO_LARGE, f"{host} sent {coding} data that unpacks to more than {size}.")
    if not decompressor.eof:
        raise _undecodable(host, f"as incomplete {coding} data")
    return decoded


def _is_image(data: bytes) -> bool:
    try:
        detect_format(data)
    except ImageError:
        return False
    return True


def _undecodable(host: str, how: str) -> FetchError:
    return FetchError(
        FetchErrorKind.CONTENT_ENCODED,
        f"{host} sent the image {how}, although the request forbids it. Disable compression for images on that host.",
    )
