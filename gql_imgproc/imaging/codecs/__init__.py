"""One codec per image format. To add a format, add its file here and its facts to `formats.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from gql_imgproc.imaging.codecs import avif, bmp, gif, jpeg, jpeg_segments, png, tiff, tiff_directories, webp
from gql_imgproc.imaging.encode import EncodeSettings
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.structure import ImageStructure


@dataclass(frozen=True, slots=True)
class Codec:
    #: Reads the structure of a file and decodes nothing. May raise IndexError or struct.error if the file ends early.
    probe: Callable[[bytes, ImageLimits], ImageStructure]
    #: Opens a file with the Pillow plug-in of this format, and never with another one.
    open: Callable[[BytesIO], ImageFile.ImageFile]
    #: Yields smaller files of the same image, the preferred one first; none if the source should be kept.
    recompress: Callable[[OpenedImage, Options], Iterable[bytes]]
    #: Encodes new pixels: one still image, the frames of an animation, or the pages of a TIFF.
    encode: Callable[[Sequence[Image.Image], EncodeSettings], bytes]


#: Keyed by `Format.name`.
CODECS = {
    "JPEG": Codec(jpeg_segments.probe, JpegImageFile, jpeg.recompress, jpeg.encode),
    "PNG": Codec(png.probe, png.open, png.recompress, png.encode),
    "WEBP": Codec(webp.probe, WebPImageFile, webp.recompress, webp.encode),
    "AVIF": Codec(avif.probe, AvifImageFile, avif.recompress, avif.encode),
    "GIF": Codec(gif.probe, GifImageFile, gif.recompress, gif.encode),
    "TIFF": Codec(tiff_directories.probe, TiffImageFile, tiff.recompress, tiff.encode),
    "BMP": Codec(bmp.probe, BmpImageFile, bmp.recompress, bmp.encode),
}
