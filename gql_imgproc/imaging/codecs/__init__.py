"""One codec per image format. To add a format, add its file here and its facts to `formats.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageFile

from gql_imgproc.imaging.codecs import avif, bmp, gif, jpeg, png, tiff, webp
from gql_imgproc.imaging.encode import EncodeSettings
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.structure import ImageStructure


@dataclass(frozen=True, slots=True)
class Codec:
    #: Reads the structure of a file and decodes nothing.
    probe: Callable[[bytes, ImageLimits], ImageStructure]
    #: Opens a file with the Pillow plug-in of this format, and never with another one.
    open: Callable[[bytes], ImageFile.ImageFile]
    #: Yields smaller files of the same image, the preferred one first; none if the source should be kept.
    recompress: Callable[[OpenedImage, Options], Iterable[bytes]]
    #: Encodes new pixels: one still image, the frames of an animation, or the pages of a TIFF.
    encode: Callable[[Sequence[Image.Image], EncodeSettings], bytes]


#: Keyed by `Format.name`.
CODECS = {
    "JPEG": Codec(jpeg.probe, jpeg.open, jpeg.recompress, jpeg.encode),
    "PNG": Codec(png.probe, png.open, png.recompress, png.encode),
    "WEBP": Codec(webp.probe, webp.open, webp.recompress, webp.encode),
    "AVIF": Codec(avif.probe, avif.open, avif.recompress, avif.encode),
    "GIF": Codec(gif.probe, gif.open, gif.recompress, gif.encode),
    "TIFF": Codec(tiff.probe, tiff.open, tiff.recompress, tiff.encode),
    "BMP": Codec(bmp.probe, bmp.open, bmp.recompress, bmp.encode),
}
