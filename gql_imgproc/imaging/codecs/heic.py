"""HEIC, which is read if the extra `heic` is installed, and never written."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Never, cast

from PIL import ImageFile

from gql_imgproc.imaging.codecs import heif
from gql_imgproc.imaging.errors import decode_errors, too_large, unsupported
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.structure import ImageStructure

#: Pixels of all tiles of an image, relative to the limit of pixels: at two edges, they reach beyond the image.
_OVERHANG = 1.1
#: Types of images that libheif decodes, besides HEVC and grids of it. Their cost is not known before.
_UNMEASURED = {b"iden", b"iovl", b"mski", b"unci"}


@cache
def _find_plugin() -> Callable[[BytesIO], ImageFile.ImageFile] | None:
    try:
        import pi_heif
    except ImportError:
        return None
    # One image uses one core, and images that are not shown are not decoded.
    pi_heif.options.DECODE_THREADS = 1
    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    return cast(Callable[[BytesIO], ImageFile.ImageFile], pi_heif.HeifImageFile)


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    plugin = _find_plugin()
    if plugin is None:
        raise unsupported(
            "The file is a HEIC image, which this service does not read. Convert it to JPEG, or ask the operator to "
            "install the extra: pip install 'gql_imgproc[heic]'."
        )
    container = heif.read_structure(data, limits.max_frames)
    # libheif refuses an image that is not coded in its declared size.
    if container.primary_kind not in (b"hvc1", b"grid") or not _UNMEASURED.isdisjoint(container.kinds):
        raise unsupported("The file is a HEIF image of a rare kind, which is not supported. Convert it to JPEG.")
    if container.area > _OVERHANG * limits.max_pixels or container.sliced_pixels > limits.max_scanned_pixels:
        raise too_large(
            f"Decoding the image takes {max(container.area, container.sliced_pixels) / 1e6:,.1f} megapixels; "
            f"the limit is {limits.max_pixels / 1e6:,g} megapixels."
        )
    with decode_errors():
        # libheif reads only the boxes here. The size is that after crop and rotation.
        image = plugin(BytesIO(data))
    return ImageStructure(*image.size, has_gain_map=container.has_gain_map, video_colors=container.video_colors)


def open(file: BytesIO) -> ImageFile.ImageFile:
    """The orientation is that of the boxes (irot, imir). Readers do not apply that of EXIF."""
    plugin = _find_plugin()
    assert plugin is not None
    return plugin(file)


def refuse(*arguments: object) -> Never:
    raise unsupported("A HEIC image can be read, but not written. Choose an output format: JPEG, PNG, WebP or AVIF.")
