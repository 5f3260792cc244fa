"""What a file is and what decoding it would cost, told before anything is decoded; and the limits on that."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import cast

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from gql_imgproc.errors import ImageError
from gql_imgproc.imaging import bmp_header, heif, jpeg_segments, png_text, structure, tiff_directories
from gql_imgproc.imaging.errors import corrupt_image, decode_errors, too_large
from gql_imgproc.imaging.formats import Format, detect_format
from gql_imgproc.imaging.structure import ImageStructure

# Our own limits are checked before a decoder is made; Pillow's would add a warning in the middle of a decode.
Image.MAX_IMAGE_PIXELS = None
# Texts are taken out before; what is left are profiles, of which some take megabytes.
PngImagePlugin.MAX_TEXT_CHUNK = png_text.MAX_PROFILE_BYTES
# Blocks of a picture that is done serve the next one: giving 5 MB back to the system and asking for them again costs
# 2 % of a JPEG. A block has 16 MiB at most.
Image.core.set_blocks_max(4)  # type: ignore[attr-defined]  # of the C part, which has no types
# One picture uses one core: the worker decides how many pictures are done at once.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# Plug-ins are called by name, never looked up: a JPEG must not become an MPO, an EPS never reaches Ghostscript.
_OPENERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a picture may cost; and from which saving on it is worth to replace the source."""

    #: Pixels of one frame; 50 megapixels need about 200 MB.
    max_pixels: int = 50_000_000
    #: Frames times pixels, hence the CPU that an animation may take.
    max_total_pixels: int = 200_000_000
    #: Frames of an animation, pages of a TIFF.
    max_frames: int = 2_000
    #: Scans of a JPEG; progressive ones have about 10, and each costs a pass over all pixels.
    max_jpeg_scans: int = 64
    #: Scans times pixels of a JPEG: an empty scan takes 0.7 ms a megapixel, a full one up to 10.
    max_scanned_pixels: int = 1_000_000_000
    #: Per cent by which a result must be smaller than its source, else the source's own bytes are kept.
    min_saving_percent: float = 5.0


@dataclass(frozen=True, slots=True)
class Header:
    """What a file claims to be; `width` and `height` as displayed."""

    format: str
    media_type: str
    extension: str
    width: int
    height: int
    frames: int

    @property
    def megapixels(self) -> float:
        """What decoding it costs, all frames taken together."""
        return self.width * self.height * self.frames / 1e6


def inspect(data: bytes, limits: ImageLimits) -> Header:
    """Refuses what is no picture, is not supported or is over a limit; decodes nothing."""
    form, anatomy = probe(data, limits)
    width, height = displayed_size(form, anatomy)
    return Header(form.name, form.media_type, form.extension, width, height, anatomy.frames)


def displayed_size(form: Format, anatomy: ImageStructure) -> tuple[int, int]:
    turned = anatomy.orientation >= 5
    return (anatomy.height, anatomy.width) if turned else (anatomy.width, anatomy.height)


def probe(data: bytes, limits: ImageLimits) -> tuple[Format, ImageStructure]:
    form = detect_format(data)
    match form.name:
        case "JPEG":
            anatomy = jpeg_segments.read_structure(data)
        case "PNG":
            anatomy = structure.png(data)
        case "GIF":
            anatomy = structure.gif(data, limits.max_frames)
        case "WEBP":
            anatomy = structure.webp(data, limits.max_frames)
        case "TIFF":
            anatomy = tiff_directories.read_structure(data, limits.max_frames)
        case "BMP":
            anatomy = bmp_header.read_structure(data)
        case _:
            anatomy = _avif(data, limits)
    _check(anatomy, limits)
    return form, anatomy


def _avif(data: bytes, limits: ImageLimits) -> ImageStructure:
    told = heif.structure(data, limits.max_frames)
    if told.area > limits.max_pixels:
        raise _too_many_pixels(told.area, limits)
    # libavif reads the boxes only, which are bounded by now; planes are allocated by `load`.
    with decode_errors():
        image = AvifImagePlugin.AvifImageFile(BytesIO(data))
        # Pillow tells what is to be done after decoding (irot, imir) as an orientation.
        orientation = structure.orientation_of(cast(bytes, image.info.get("exif", b"")))
        frame = told.picture.frame if told.picture is not None else None
        return ImageStructure(
            *image.size,
            frames=max(image.n_frames, told.frames),
            orientation=orientation,
            area=told.area,
            plays=told.plays,
            lossless=told.picture is not None and told.picture.lossless,
            quantiser=frame.base_q_idx if frame is not None else -1,
            honest=told.honest,
            plain=told.plain,
        )


def _too_many_pixels(pixels: int, limits: ImageLimits) -> ImageError:
    return too_large(
        f"The picture takes {pixels / 1e6:,.1f} megapixels to decode; at most {limits.max_pixels / 1e6:,g} are taken."
    )


def _check(anatomy: ImageStructure, limits: ImageLimits) -> None:
    width, height, pixels = anatomy.width, anatomy.height, anatomy.pixels
    if width < 1 or height < 1:
        raise corrupt_image("The picture is damaged: its header claims a side of 0 pixels.")
    if pixels > limits.max_pixels:
        raise too_large(
            f"The picture has {width:,} x {height:,} pixels; at most {limits.max_pixels / 1e6:,g} megapixels are taken."
        )
    if not anatomy.honest:
        raise corrupt_image("The picture is damaged: it claims two different sizes.")
    if anatomy.frames > limits.max_frames:
        raise too_large(f"The picture has {anatomy.frames:,} frames; at most {limits.max_frames:,} are taken.")
    if anatomy.frames * pixels > limits.max_total_pixels:
        raise too_large(
            f"The picture has {anatomy.frames:,} frames of {pixels / 1e6:,.1f} megapixels; "
            f"at most {limits.max_total_pixels / 1e6:,g} megapixels in all are taken."
        )
    if anatomy.scans > limits.max_jpeg_scans:
        raise too_large(f"The JPEG has {anatomy.scans:,} scans; at most {limits.max_jpeg_scans} are taken.")
    if anatomy.scans * pixels > limits.max_scanned_pixels:
        raise too_large(
            f"The JPEG has {anatomy.scans:,} scans of {pixels / 1e6:,.1f} megapixels; "
            f"at most {limits.max_scanned_pixels / 1e6:,g} megapixels in all are taken."
        )


def open_picture(data: bytes, form: Format, anatomy: ImageStructure) -> ImageFile.ImageFile:
    """The picture with its header read, its pixels not; refuses a file that says two things about its size."""
    with decode_errors():
        image = _OPENERS[form.name](BytesIO(png_text.without(data) if form.name == "PNG" else data))
        # All of it is here: fed piece by piece, a decoder does the row anew in which a piece ends.
        image.decodermaxblock = max(image.decodermaxblock, len(data))
        # Pillow shows a TIFF already turned.
        expected = displayed_size(form, anatomy) if form.name == "TIFF" else (anatomy.width, anatomy.height)
        if image.size != expected:
            raise corrupt_image("The picture is damaged: it claims two different sizes.")
        return image


def load(image: Image.Image) -> None:
    with decode_errors():
        image.load()
