"""JPEGs of every kind that turns up, most of them put together segment by segment."""

from __future__ import annotations

import struct
from functools import cache

from PIL import Image

from tests.imaging.corpus.images import SRGB, bytes_of, photo, quarters

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
#: A profile that goes into more than one segment.
LONG_PROFILE = SRGB + bytes(150_000)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def after_soi(data: bytes, *segments: bytes) -> bytes:
    return SOI + b"".join(segments) + data[2:]


def without(data: bytes, marker: int) -> bytes:
    """The file without the segments of one kind, up to the pixels."""
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
    """Big-endian EXIF as cameras write it: maker, orientation, a place on earth, perhaps a thumbnail."""
    tags = Image.Exif()
    tags[0x010F] = "a camera that nobody need know"
    if orientation != 1:
        tags[0x0112] = orientation
    if x_resolution:
        tags[0x011A], tags[0x0128] = x_resolution, 3
    tags.get_ifd(0x8825)[1] = "N"
    stored = tags.tobytes()
    if not thumbnail:
        return stored
    # The second directory is told after the entries of the first one.
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


def in_ycck(image: Image.Image) -> Image.Image:
    """Numbers that Pillow stores inverted, as inks; three of them a reader is told to turn into RGB first."""
    luma, blue, red = (band.point(lambda level: 255 - level) for band in image.convert("YCbCr").split())
    return Image.merge("CMYK", [luma, blue, red, Image.new("L", image.size, 20)])


@cache
def sources() -> dict[str, bytes]:
    """Every kind at quality 92 or so, hence to be made smaller."""
    rgb, grey, cmyk = photo(), photo().convert("L"), photo().convert("CMYK")
    plain = bytes_of(rgb, "JPEG", quality=92)
    thumbnail = bytes_of(photo(60, 40), "JPEG", quality=80)
    return {
        "4:2:0": plain,
        "4:4:4": bytes_of(rgb, "JPEG", quality=92, subsampling=0),
        "4:2:2": bytes_of(rgb, "JPEG", quality=92, subsampling=1),
        "progressive": bytes_of(rgb, "JPEG", quality=92, progressive=True),
        "restart markers": bytes_of(rgb, "JPEG", quality=92, restart_marker_blocks=2),
        "grey": bytes_of(grey, "JPEG", quality=92),
        "cmyk": bytes_of(cmyk, "JPEG", quality=92),
        "cmyk without Adobe": without(bytes_of(cmyk, "JPEG", quality=92), 0xEE),
        "ycck": after_soi(without(bytes_of(in_ycck(photo()), "JPEG", quality=92, subsampling=0), 0xEE), adobe(2)),
        "rgb": bytes_of(rgb, "JPEG", quality=92, keep_rgb=True),
        "16-bit tables": bytes_of(rgb, "JPEG", qtables=[[3] * 63 + [300], [4] * 63 + [300]]),
        "profile in three segments": bytes_of(rgb, "JPEG", quality=92, icc_profile=LONG_PROFILE),
        "exif with a thumbnail": bytes_of(rgb, "JPEG", quality=92, exif=exif(6, thumbnail)),
        "broken exif": bytes_of(rgb, "JPEG", quality=92, exif=b"Exif\0\0MM\0*\0\0\xff\xff" + bytes(9)),
        "a resolution beyond reason": without(
            bytes_of(rgb, "JPEG", quality=92, exif=exif(1, x_resolution=2**32 - 1)), 0xE0
        ),
        "two pictures (MPO)": bytes_of(rgb, "MPO", save_all=True, append_images=[rgb.rotate(180)], quality=92),
        "with an archive behind": plain + b"PK\x03\x04" + bytes(100_000),
        "comment": bytes_of(rgb, "JPEG", quality=92, comment=b"hello"),
        "wide": bytes_of(photo(3_000, 2), "JPEG", quality=95),
        "high": bytes_of(photo(2, 3_000), "JPEG", quality=95),
    }


def oriented(orientation: int) -> bytes:
    return bytes_of(quarters(), "JPEG", quality=95, exif=exif(orientation), icc_profile=SRGB)
