"""Marks a file with the similarity that its quality was chosen for, so that a second pass keeps it.

The quality of such a file says nothing about that: only with the source could its similarity be measured again. A PNG
needs no mark, because a palette is not reduced again.
"""

from __future__ import annotations

from gql_imgproc.imaging.codecs import avif, jpeg_segments, webp

_CODECS = {"JPEG": jpeg_segments, "WEBP": webp, "AVIF": avif}


def write(data: bytes, format_name: str, floor: int) -> bytes:
    codec = _CODECS.get(format_name)
    return codec.add_mark(data, floor) if codec else data


def read(data: bytes, format_name: str) -> int | None:
    """The similarity that a file was made for; None if it is not marked."""
    codec = _CODECS.get(format_name)
    return codec.read_mark(data) if codec else None
