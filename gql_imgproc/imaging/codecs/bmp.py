"""BMP: not compressed, but an image with at most 256 colours needs only one byte per pixel."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile

from gql_imgproc.imaging import color_count
from gql_imgproc.imaging.codecs.bmp_masks import MaskedBmp, read_masks
from gql_imgproc.imaging.codecs.bmp_run_lengths import RunLengthBmp
from gql_imgproc.imaging.encode import EncodeSettings, save
from gql_imgproc.imaging.errors import corrupt_image, unsupported
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.metadata import Extras, collect_extras
from gql_imgproc.imaging.opened_image import OpenedImage, load
from gql_imgproc.imaging.options import Metadata, Options
from gql_imgproc.imaging.structure import ImageStructure

#: Run-length encodings of 8 and of 4 bits.
_RUN_LENGTHS, _END_OF_RUN_LENGTHS = (1, 2), b"\0\1"
#: Least sizes of a header with the number of colours in its palette, and with a profile.
_COLORS_HEADER_BYTES, _PROFILE_HEADER_BYTES = 40, 124
#: A header of version 4 or later names a colour space. These two are sRGB, and the default of Windows.
_SCREEN_SPACES = (b"BGRs", b" niW")
#: Headers of OS/2 2.x, the shorter one without a compression; those from 3 on have another meaning there.
_OS2_HEADERS = (16, 64)
#: Bits of a pixel, and compressions (JPEG, PNG, CMYK), that Windows defines and browsers do not read.
_OTHER_BITS, _OTHER_COMPRESSIONS = (2, 64), (4, 5, 11, 12, 13)


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    start, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes == 12:
        return ImageStructure(*struct.unpack_from("<HH", data, 18))
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    read_masks(data)
    if (
        (header_bytes in _OS2_HEADERS and (header_bytes == 16 or compression > 2))
        or bits in _OTHER_BITS
        or compression in _OTHER_COMPRESSIONS
    ):
        raise unsupported("The file is a BMP of a rare kind, which is not supported. Use PNG.")
    rows_bytes = struct.unpack_from("<I", data, 34)[0] if compression in _RUN_LENGTHS else 0
    color_space = struct.unpack_from("<4s", data, 70)[0] if header_bytes >= 108 else _SCREEN_SPACES[0]
    if rows_bytes and start + rows_bytes > len(data):
        # Run lengths are usually not decoded, so nothing else would notice this.
        raise corrupt_image("The BMP is incomplete: bytes are missing at its end.")
    return ImageStructure(
        abs(width),
        abs(height),
        run_length_encoded=compression in _RUN_LENGTHS,
        pillow_can_represent=color_space in _SCREEN_SPACES,
    )


def open(file: BytesIO) -> ImageFile.ImageFile:
    data = file.getvalue()
    if read_masks(data):
        return MaskedBmp(file)
    header_bytes, bits, compression = struct.unpack_from("<I10xHI", data, 14)
    if header_bytes >= _COLORS_HEADER_BYTES and bits <= 8 and int.from_bytes(data[46:50], "little") > 1 << bits:
        # As in browsers, pixels refer to no further colours. Pillow refuses the file.
        file = BytesIO(data[:46] + (1 << bits).to_bytes(4, "little") + data[50:])
    return RunLengthBmp(file) if header_bytes > 16 and compression in _RUN_LENGTHS else BmpImageFile(file)


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """Yields one file with a palette if the image has at most 256 colours and is not run-length encoded."""
    image = source.image
    if source.structure.run_length_encoded:
        return
    load(image)
    has_spare_alpha = isinstance(image, MaskedBmp) and image.spare_bits_vary
    if source.structure.pillow_can_represent and image.mode == "RGB" and not has_spare_alpha:
        yield from _encode_palette(image, collect_extras(image, 1, metadata=Metadata.NONE))


def shed(source: OpenedImage, options: Options) -> bytes:
    """Cuts off what stands behind the pixels and the profile."""
    data, structure = source.data, source.structure
    start, header_bytes = struct.unpack_from("<II", data, 10)
    if structure.run_length_encoded:
        end = start + int.from_bytes(data[34:38], "little")
        has_end_mark = header_bytes < _PROFILE_HEADER_BYTES and data[end - 2 : end] == _END_OF_RUN_LENGTHS
        return data[:end] if has_end_mark else data
    (bits,) = struct.unpack_from("<H", data, 24 if header_bytes == 12 else 28)
    end = start + (structure.width * bits + 31) // 32 * 4 * structure.height
    if header_bytes >= _PROFILE_HEADER_BYTES:
        profile_at, profile_bytes = struct.unpack_from("<II", data, 126)
        end = max(end, 14 + profile_at + profile_bytes)
    return data[:end]


def encode(images: Sequence[Image.Image], settings: EncodeSettings) -> bytes:
    image, extras = images[0], settings.extras
    encoded = _save(image.convert("RGBA") if image.mode == "LA" else image, extras)
    if image.mode == "RGB":
        # In a tiny image, a palette of 1 KiB is larger than what it saves.
        return min([encoded, *_encode_palette(image, extras)], key=len)
    return encoded


def _encode_palette(image: Image.Image, extras: Extras) -> Iterator[bytes]:
    if counts := color_count.count_colors(image, 256):
        yield _save(color_count.exact_palette(image, counts), extras)


def _save(image: Image.Image, extras: Extras) -> bytes:
    if image.mode == "RGBA":
        return _encode_alpha(image, extras)
    return save(image, "BMP", dpi=extras.dpi or (0, 0))


def _encode_alpha(image: Image.Image, extras: Extras) -> bytes:
    """A file of version 4. Pillow writes alpha into one of version 3, where browsers ignore it."""
    rows = image.tobytes("raw", "BGRA", 0, -1)
    per_metre = (round(n / 0.0254) for n in extras.dpi or (0, 0))
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack(
        "<IiiHHIIiiII4I4s48x", 108, *image.size, 1, 32, 3, len(rows), *per_metre, 0, 0, *masks, b"BGRs"
    )
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + rows
