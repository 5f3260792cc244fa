"""JPEGs of every common kind, most of them assembled segment by segment."""

from __future__ import annotations

import struct
from functools import cache

from PIL import Image

from tests.imaging.corpus.images import SRGB, encode, photo, quarters

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
#: A profile that needs more than one segment.
LONG_PROFILE = SRGB + bytes(150_000)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def after_soi(data: bytes, *segments: bytes) -> bytes:
    return SOI + b"".join(segments) + data[2:]


def without(data: bytes, marker: int) -> bytes:
    """The file without the segments with this marker."""
    out, at = [SOI], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] != marker:
            out.append(data[at:end])
        at = end
    return b"".join(out) + data[at:]


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


def exif(orientation: int = 1, thumbnail: bytes = b"", x_resolution: int = 0) -> bytes:
    """Big-endian EXIF as cameras write it: make, orientation, GPS, and optionally a thumbnail."""
    tags = Image.Exif()
    tags[0x010F] = "secret camera"
    if orientation != 1:
        tags[0x0112] = orientation
    if x_resolution:
        tags[0x011A], tags[0x0128] = x_resolution, 3
    tags.get_ifd(0x8825)[1] = "N"
    stored = tags.tobytes()
    if not thumbnail:
        return stored
    # The offset of the second directory follows the entries of the first one.
    tiff = bytearray(stored.removeprefix(b"Exif\0\0"))
    order = "<" if tiff[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    struct.pack_into(order + "I", tiff, start + 2 + 12 * count, len(tiff))
    entries = [(0x0103, 3, 6), (0x0201, 4, len(tiff) + 2 + 36 + 4), (0x0202, 4, len(thumbnail))]
    tiff += struct.pack(order + "H", 3)
    for tag, kind, value in entries:
        packed = struct.pack(order + "H2x", value) if kind == 3 else struct.pack(order + "I", value)
        tiff += struct.pack(order + "HHI", tag, kind, 1) + packed
    return b"Exif\0\0" + bytes(tiff + bytes(4) + thumbnail)


def to_ycck(image: Image.Image) -> Image.Image:
    """YCCK samples in CMYK mode, in which Pillow stores them inverted."""
    luma, blue, red = (band.point(lambda level: 255 - level) for band in image.convert("YCbCr").split())
    return Image.merge("CMYK", [luma, blue, red, Image.new("L", image.size, 20)])


@cache
def sources() -> dict[str, bytes]:
    """Every kind at a quality of about 92, so that compression makes it smaller."""
    rgb, grey, cmyk = photo(), photo().convert("L"), photo().convert("CMYK")
    plain = encode(rgb, "JPEG", quality=92)
    thumbnail = encode(photo(60, 40), "JPEG", quality=80)
    return {
        "4:2:0": plain,
        "4:4:4": encode(rgb, "JPEG", quality=92, subsampling=0),
        "4:2:2": encode(rgb, "JPEG", quality=92, subsampling=1),
        "progressive": encode(rgb, "JPEG", quality=92, progressive=True),
        "restart markers": encode(rgb, "JPEG", quality=92, restart_marker_blocks=2),
        "grey": encode(grey, "JPEG", quality=92),
        "cmyk": encode(cmyk, "JPEG", quality=92),
        "cmyk without Adobe": without(encode(cmyk, "JPEG", quality=92), 0xEE),
        "ycck": after_soi(without(encode(to_ycck(photo()), "JPEG", quality=92, subsampling=0), 0xEE), adobe(2)),
        "rgb": encode(rgb, "JPEG", quality=92, keep_rgb=True),
        "16-bit tables": encode(rgb, "JPEG", qtables=[[3] * 63 + [300], [4] * 63 + [300]]),
        "profile in three segments": encode(rgb, "JPEG", quality=92, icc_profile=LONG_PROFILE),
        "exif with a thumbnail": encode(rgb, "JPEG", quality=92, exif=exif(6, thumbnail)),
        "broken exif": encode(rgb, "JPEG", quality=92, exif=b"Exif\0\0MM\0*\0\0\xff\xff" + bytes(9)),
        "an absurd resolution": without(encode(rgb, "JPEG", quality=92, exif=exif(1, x_resolution=2**32 - 1)), 0xE0),
        "two images (MPO)": encode(rgb, "MPO", save_all=True, append_images=[rgb.rotate(180)], quality=92),
        "followed by an archive": plain + b"PK\x03\x04" + bytes(100_000),
        "comment": encode(rgb, "JPEG", quality=92, comment=b"hello"),
        "wide": encode(photo(3_000, 2), "JPEG", quality=95),
        "high": encode(photo(2, 3_000), "JPEG", quality=95),
    }


def oriented(orientation: int) -> bytes:
    return encode(quarters(), "JPEG", quality=95, exif=exif(orientation), icc_profile=SRGB)
