"""Marks a file with the similarity that its quality was chosen for, so that a second pass keeps it.

The quality of such a file says nothing about that: only with the source could its similarity be measured again. A PNG
needs no mark, because a palette is not reduced again.
"""

from __future__ import annotations

from gql_imgproc.imaging.codecs import avif, jpeg_segments, webp


def write(data: bytes, format_name: str, floor: int) -> bytes:
    match format_name:
        case "JPEG":
            return jpeg_segments.add_mark(data, floor)
        case "WEBP":
            return webp.add_mark(data, floor)
        case "AVIF":
            return avif.add_mark(data, floor)
    return data


def read(data: bytes, format_name: str) -> int | None:
    """The similarity that a file was made for; None if it is not marked."""
    match format_name:
        case "JPEG":
            return jpeg_segments.read_mark(data)
        case "WEBP":
            return webp.read_mark(data)
        case "AVIF":
            return avif.read_mark(data)
    return None
