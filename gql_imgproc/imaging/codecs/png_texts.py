"""Reads the texts of a PNG that say who made the image, within bounds. Pillow would inflate all texts."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from gql_imgproc.imaging.copyright_notice import MAX_XMP_BYTES, Notice, clean_text

TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"
_NOTICES = {b"Author": "creator", b"Creator": "creator", b"Copyright": "rights", b"Credit": "credit"}
#: Stored bytes of a notice, and of a notice or XMP when it is inflated.
_MAX_STORED_BYTES = 4_096
_MAX_KEYWORD_BYTES = 79


def is_notice(kind: bytes, body: bytes | memoryview) -> bool:
    return kind in TEXTS and len(body) <= _MAX_STORED_BYTES and _keyword(body) in _NOTICES


def read_notice(chunks: Iterable[tuple[bytes, bytes | memoryview]]) -> Notice:
    texts: dict[str, str] = {}
    for kind, body in chunks:
        if is_notice(kind, body) and (name := _NOTICES[_keyword(body)]) not in texts:
            text = clean_text(_read(kind, bytes(body)).decode("utf-8" if kind == b"iTXt" else "latin-1", "replace"))
            texts[name] = text
    return Notice(**texts)


def read_xmp(chunks: Iterable[tuple[bytes, bytes | memoryview]]) -> bytes:
    packets = (_read(kind, bytes(body)) for kind, body in chunks if kind == b"iTXt" and _keyword(body) == _XMP)
    return next(packets, b"")


def _keyword(body: bytes | memoryview) -> bytes:
    return bytes(body[: _MAX_KEYWORD_BYTES + 1]).partition(b"\0")[0]


def _read(kind: bytes, body: bytes) -> bytes:
    """The text; empty if it is damaged or too long."""
    _, _, text = body.partition(b"\0")
    is_compressed = kind == b"zTXt" or (kind == b"iTXt" and text[:1] == b"\1")
    if kind == b"iTXt":
        # Behind flag and method, the language and the translated keyword.
        text = [*text[2:].split(b"\0", 2), b"", b""][2]
    elif is_compressed:
        text = text[1:]
    if not is_compressed:
        return text
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(text, MAX_XMP_BYTES)
    except zlib.error:
        return b""
    return text if inflater.eof else b""
