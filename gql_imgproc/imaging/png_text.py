"""A PNG without its texts: Pillow inflates all of them before it looks at the picture, up to 64 MiB."""

from __future__ import annotations

from gql_imgproc.imaging.structure import png_chunks

#: Bytes of a colour profile that are inflated; those of cameras and printers have up to a few megabytes.
MAX_PROFILE_BYTES = 16 * 1024 * 1024
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp\0\0"


def without(data: bytes) -> bytes:
    """The file with no text but XMP, and this only when it is stored as it is; the rest is not touched."""
    if not any(kind in data for kind in _TEXTS):
        return data
    pieces, at, start = [], 8, 0
    for kind, body in png_chunks(data):
        end = at + 12 + len(body)
        if kind in _TEXTS and bytes(body[: len(_XMP)]) != _XMP:
            pieces.append(data[start:at])
            start = end
        at = end
    return b"".join([*pieces, data[start:]]) if pieces else data
