"""One codec per image format. To add a format, add its file here and its facts to `formats.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile

from gql_imgproc.imaging.codecs import (
    avif,
    bmp,
    gif,
    heic,
    jpeg,
    jpeg_segments,
    png,
    png_frames,
    tiff,
    tiff_directories,
    webp,
)
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
    #: The source without what is no pixels, no colour and not asked for. Called after `recompress`.
    shed: Callable[[OpenedImage, Options], bytes]
    #: Composes the frames of an animation, if Pillow does not compose them as browsers do; None for a still image.
    read_frames: Callable[[OpenedImage], Iterator[Image.Image] | None] = lambda source: None


#: Keyed by `Format.name`.
CODECS = {
    "JPEG": Codec(jpeg_segments.probe, jpeg.open, jpeg.recompress, jpeg.encode, jpeg.shed),
    "PNG": Codec(png.probe, png.open, png.recompress, png.encode, png.shed, png_frames.read_frames),
    "WEBP": Codec(webp.probe, webp.open, webp.recompress, webp.encode, webp.shed),
    "AVIF": Codec(avif.probe, AvifImageFile, avif.recompress, avif.encode, avif.shed),
    "HEIF": Codec(heic.probe, heic.open, heic.refuse, heic.refuse, heic.refuse),
    "GIF": Codec(gif.probe, GifImageFile, gif.recompress, gif.encode, gif.shed, gif.read_frames),
    "TIFF": Codec(tiff_directories.probe, tiff.open, tiff.recompress, tiff.encode, tiff.shed),
    "BMP": Codec(bmp.probe, bmp.open, bmp.recompress, bmp.encode, bmp.shed),
}
