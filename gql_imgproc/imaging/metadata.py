"""Metadata and colour profile of an image, as far as they go into a new file."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from PIL import Image

from gql_imgproc.imaging import color_profiles, copyright_notice, exif
from gql_imgproc.imaging.copyright_notice import Notice
from gql_imgproc.imaging.options import Metadata

#: Bytes of EXIF that fit into one segment of a JPEG.
_MAX_EXIF_BYTES = 65_533
#: Dots per inch. A JPEG stores them in 16 bits, and no scanner has more.
_MAX_DPI = 65_535
_IPTC_TAG, _IPTC_RESOURCE = 33_723, 0x0404
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[1-8]")


@dataclass(frozen=True, slots=True)
class Extras:
    """What is stored in addition to the pixels."""

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    comment: bytes = b""
    dpi: tuple[float, float] | None = None
    #: Segments of a JPEG, copied unchanged.
    segments: bytes = b""
    #: Chunks of a PNG, copied unchanged.
    chunks: tuple[tuple[bytes, bytes], ...] = ()


def collect_extras(image: Image.Image, orientation: int, *, metadata: Metadata, has_new_pixels: bool = False) -> Extras:
    """Colour profile, resolution and orientation, and the wanted part of what Pillow can carry over.

    `orientation` is that of the pixels in the new file, which may differ from the EXIF of the source. With
    `has_new_pixels`, these are not the pixels of the source.
    """
    info = image.info
    icc = color_profiles.usable_profile(info.get("icc_profile") or b"", image.mode)
    dpi = _valid_dpi(info.get("dpi"))
    new_exif = exif.orientation_exif(orientation)
    if metadata is Metadata.NONE:
        return Extras(icc, new_exif, dpi=dpi)
    stored = info.get("exif") or (exif.exif_of_tiff(image) if image.format == "TIFF" else b"")
    xmp, comment = info.get("xmp") or b"", info.get("comment") or b""
    xmp = xmp if isinstance(xmp, bytes) else xmp.encode()
    if metadata is Metadata.COPYRIGHT:
        notice = copyright_notice.read_exif(stored) if stored else Notice()
        tags = copyright_notice.exif_tags(notice)
        wider = (copyright_notice.read_xmp(xmp) if xmp else Notice()) | copyright_notice.read_iptc(_iptc(image))
        if has_new_pixels:
            # With its own pixels, a PNG keeps its own texts.
            wider |= info.get("notice", Notice())
        packet = copyright_notice.write_xmp(wider)
        return Extras(icc, exif.notice_exif(orientation, tags), packet, dpi=dpi)
    if stored:
        is_unchanged = exif.read_orientation(stored) == orientation and not has_new_pixels
        candidate = stored if is_unchanged else exif.set_orientation(stored, orientation)
        new_exif = candidate if len(candidate) <= _MAX_EXIF_BYTES else new_exif
    xmp = _XMP_ORIENTATION.sub(rb"\g<1>%d" % orientation, xmp)
    return Extras(icc, new_exif, xmp, comment if isinstance(comment, bytes) else comment.encode(), dpi)


def _iptc(image: Image.Image) -> bytes:
    """IPTC as JPEG stores it in a resource of Photoshop, and TIFF in a tag."""
    tags = getattr(image, "tag_v2", {})
    records = (
        tags.get(_IPTC_TAG, b"") if image.format == "TIFF" else image.info.get("photoshop", {}).get(_IPTC_RESOURCE)
    )
    return records if isinstance(records, bytes) else b""


def _valid_dpi(value: Any) -> tuple[float, float] | None:
    try:
        x, y = map(float, value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if all(math.isfinite(n) and 1 <= n <= _MAX_DPI for n in (x, y)) else None
