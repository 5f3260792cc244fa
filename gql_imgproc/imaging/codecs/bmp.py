"""BMP: not compressed, but an image with at most 256 colours needs only one byte per pixel."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from PIL import Image

from gql_imgproc.imaging import color_count
from gql_imgproc.imaging.encode import EncodeSettings, save
from gql_imgproc.imaging.errors import corrupt_image
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.metadata import Extras, collect_extras
from gql_imgproc.imaging.opened_image import OpenedImage, load
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.structure import ImageStructure

#: Run-length encodings of 8 and of 4 bits.
_RUN_LENGTHS = (1, 2)
#: A header of version 4 or later names a colour space. These two are sRGB, and the default of Windows.
_SCREEN_SPACES = (b"BGRs", b" niW")


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    start, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes == 12:
        return ImageStructure(*struct.unpack_from("<HH", data, 18))
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
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


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """Yields one file with a palette if the image has at most 256 colours and is not run-length encoded."""
    image = source.image
    if source.structure.run_length_encoded:
        return
    load(image)
    if source.structure.pillow_can_represent and image.mode == "RGB":
        yield from _encode_palette(image, collect_extras(image, 1, keep_metadata=False))


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
    return save(image, "BMP", dpi=extras.dpi or (0, 0))
