"""PNG: stores the same image in fewer bytes.

Best first: a palette of 256 colours, exact or within a similarity threshold; the same pixels compressed better; the
source.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from io import BytesIO

from PIL import Image, ImageFile, PngImagePlugin

from gql_imgproc.imaging.codecs import png_chunks, png_palette, png_recompress
from gql_imgproc.imaging.codecs.png_chunks import Chunk, has_chunk
from gql_imgproc.imaging.encode import EncodeSettings, save
from gql_imgproc.imaging.errors import corrupt_image
from gql_imgproc.imaging.exif import read_orientation
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.opened_image import OpenedImage, load
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.structure import ImageStructure

# Bytes of a colour profile that are inflated. Those of cameras and printers have up to a few megabytes. Texts are
# removed before the file is opened.
PngImagePlugin.MAX_TEXT_CHUNK = 16 * 1024 * 1024


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    size: tuple[int, int] | None = None
    orientation, declared_frames, frame_headers, play_count, kind = 1, 0, 0, 0, b""
    for kind, body in png_chunks.walk(data):
        if kind == b"IHDR":
            if size is not None or len(body) != 13:
                raise corrupt_image("The PNG is damaged: its header is invalid.")
            width, height = struct.unpack_from(">II", body)
            size = width, height
        elif kind == b"acTL" and len(body) == 8:
            declared_frames, play_count = struct.unpack(">II", body)
        elif kind == b"fcTL":
            frame_headers += 1
        elif kind == b"eXIf":
            orientation = read_orientation(bytes(body))
    if size is None:
        raise corrupt_image("The PNG is damaged: it ends inside its header.")
    if kind != b"IEND":
        # Later frames of an animation are not decoded, so nothing else would notice that they are missing.
        raise corrupt_image("The PNG is incomplete: bytes are missing at its end.")
    frames = max(1, declared_frames, frame_headers)
    return ImageStructure(*size, frames=frames, orientation=orientation, play_count=play_count)


def open(file: BytesIO) -> ImageFile.ImageFile:
    return PngImagePlugin.PngImageFile(BytesIO(png_chunks.drop_texts(file.getvalue())))


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """With a palette if that is faithful; then the same pixels compressed better."""
    image, orientation, keep_metadata = source.image, source.structure.orientation, options.keep_metadata
    load(image)
    chunks = png_chunks.read(source.data)
    if not _must_keep_storage(chunks):
        reduced = _reduce_alpha(image)
        ancillary = png_chunks.ancillary_chunks(chunks, orientation, keep_metadata=keep_metadata)
        # How visible a colour step is depends on the transfer curve. Without a screen's curve only exact palettes do.
        quality = options.quality if png_chunks.is_perceptually_uniform(chunks) else 100
        for candidate in png_palette.reduce(reduced, quality, has_profile=has_chunk(chunks, b"iCCP")):
            yield png_recompress.write_png(candidate, ancillary)
        if reduced is not image and "transparency" not in image.info:
            yield png_recompress.write_png(reduced, ancillary)
            return
    yield png_recompress.recompress_losslessly(chunks, orientation, keep_metadata=keep_metadata)


def encode(images: Sequence[Image.Image], settings: EncodeSettings) -> bytes:
    if settings.durations_ms:
        return _encode_animation(images, settings)
    image, extras = images[0], settings.extras
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    ancillary = png_chunks.new_ancillary_chunks(extras, image.info)
    reduced = _reduce_alpha(image)
    quality = settings.quality if png_chunks.is_perceptually_uniform(ancillary) else 100
    palettes = png_palette.reduce(reduced, quality, has_profile=bool(extras.icc))
    return png_recompress.write_png(next(palettes, reduced), ancillary)


def _encode_animation(frames: Sequence[Image.Image], settings: EncodeSettings) -> bytes:
    first, *rest = frames
    data = save(
        first,
        "PNG",
        save_all=True,
        append_images=rest,
        duration=list(settings.durations_ms),
        loop=settings.play_count,
        # Otherwise Pillow takes this from the source.
        default_image=False,
    )
    chunks = png_chunks.read(data)
    chunks[1:1] = png_chunks.new_ancillary_chunks(settings.extras, first.info)
    return png_recompress.recompress_losslessly(chunks, 1, keep_metadata=True)


def _must_keep_storage(chunks: list[Chunk]) -> bool:
    """Whether depth and colour type must stay: for animations, 16 bits, an existing palette, and transparency with a
    background colour, which a palette might not contain."""
    depth, color_type = chunks[0][1][8], chunks[0][1][9]
    has_transparency = color_type in (4, 6) or has_chunk(chunks, b"tRNS")
    has_background = has_transparency and has_chunk(chunks, b"bKGD")
    return has_chunk(chunks, b"acTL") or depth == 16 or color_type == 3 or has_background


def _reduce_alpha(image: Image.Image) -> Image.Image:
    """Drops an alpha channel that is opaque everywhere, and turns a transparent colour into an alpha channel."""
    if image.mode == "RGB" and "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("RGBA", "LA") and png_palette.is_opaque(image):
        return image.convert("RGB" if image.mode == "RGBA" else "L")
    return image
