"""PNG: stores the same image in fewer bytes.

Best first: a palette of 256 colours, exact or within a similarity threshold; the same pixels compressed better; the
source.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import cast

from PIL import Image, ImageFile, PngImagePlugin

from gql_imgproc.imaging import color_profiles
from gql_imgproc.imaging.codecs import png_chunks, png_frames, png_optimize, png_palette, png_repair, png_texts
from gql_imgproc.imaging.codecs.png_chunks import Chunk, has_chunk
from gql_imgproc.imaging.encode import EncodeSettings, save
from gql_imgproc.imaging.errors import corrupt_image
from gql_imgproc.imaging.exif import read_orientation
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.metadata import collect_extras
from gql_imgproc.imaging.opened_image import OpenedImage, load
from gql_imgproc.imaging.options import Effort, Options
from gql_imgproc.imaging.structure import ImageStructure

# Bytes of a colour profile that are inflated. Those of cameras and printers have up to a few megabytes. Texts are
# removed before the file is opened.
PngImagePlugin.MAX_TEXT_CHUNK = 16 * 1024 * 1024
_PALETTE = 3


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    size: tuple[int, int] | None = None
    orientation, declared_frames, play_count, kind = 1, 0, 0, b""
    durations_ms: list[int] = []
    color_type, has_palette, video_colors = 0, False, None
    for kind, body in png_chunks.walk(data):
        if kind == b"IHDR":
            if size is not None or len(body) != 13:
                raise corrupt_image("The PNG is damaged: its header is invalid.")
            width, height = struct.unpack_from(">II", body)
            size, color_type = (width, height), body[9]
        elif kind == b"acTL" and len(body) == 8:
            declared_frames, play_count = struct.unpack(">II", body)
        elif kind == b"PLTE":
            has_palette = len(body) >= 3
        elif kind == b"fcTL":
            durations_ms.append(png_frames.duration_ms(body))
        elif kind == b"cICP":
            video_colors = png_chunks.read_video_colors(body)
        elif kind == b"eXIf":
            orientation = read_orientation(bytes(body))
    if size is None:
        raise corrupt_image("The PNG is damaged: it ends inside its header.")
    if color_type == _PALETTE and not has_palette:
        raise corrupt_image("The PNG is damaged: it has no palette, but its pixels refer to one.")
    if kind != b"IEND":
        # Later frames of an animation are not decoded, so nothing else would notice that they are missing.
        raise corrupt_image("The PNG is incomplete: bytes are missing at its end.")
    if not declared_frames:
        return ImageStructure(*size, orientation=orientation, video_colors=video_colors)
    return ImageStructure(
        *size,
        frames=max(declared_frames, len(durations_ms)),
        orientation=orientation,
        play_count=play_count,
        durations_ms=tuple(durations_ms),
        video_colors=video_colors,
    )


def open(file: BytesIO) -> ImageFile.ImageFile:
    data = file.getvalue()
    image = PngImagePlugin.PngImageFile(BytesIO(png_repair.make_readable(data)))
    chunks = list(png_chunks.walk(data))
    image.info |= {"notice": png_texts.read_notice(chunks), "xmp": png_texts.read_xmp(chunks)}
    return image


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """With a palette if that is faithful; then the same pixels compressed better."""
    image = source.image
    load(image)
    chunks = png_chunks.read(source.data)
    if not color_profiles.usable_profile(image.info.get("icc_profile") or b"", image.mode):
        chunks = [chunk for chunk in chunks if chunk[0] != b"iCCP"]
    if not _has_transparency(chunks):
        # Nothing shows the background, whose colour a palette might not contain.
        chunks = [chunk for chunk in chunks if chunk[0] != b"bKGD"]
    extras = collect_extras(image, source.structure.orientation, metadata=options.metadata)
    metadata = png_chunks.metadata_chunks(chunks, extras, options.metadata)
    if image.mode == "P":
        _, highest = cast(tuple[int, int], image.getextrema())
        chunks = png_chunks.pad_palette(chunks, highest + 1)
    if not _must_keep_storage(chunks):
        yield from _with_palette(image, png_chunks.ancillary_chunks(chunks, metadata), options.quality, options.effort)
    kept_chunks = png_chunks.replace_metadata(chunks, metadata)
    if not png_optimize.is_compact_palette(kept_chunks, options.effort):
        yield png_optimize.optimize(kept_chunks, options.effort)


def shed(source: OpenedImage, options: Options) -> bytes:
    chunks = png_chunks.read(source.data)
    extras = collect_extras(source.image, source.structure.orientation, metadata=options.metadata)
    metadata = png_chunks.metadata_chunks(chunks, extras, options.metadata)
    return png_chunks.write(png_chunks.replace_metadata(chunks, metadata))


def encode(images: Sequence[Image.Image], settings: EncodeSettings) -> bytes:
    if settings.durations_ms:
        return _encode_animation(images, settings)
    image, extras = images[0], settings.extras
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    ancillary = png_chunks.new_ancillary_chunks(extras, image.info)
    for data in _with_palette(image, ancillary, settings.quality, settings.effort):
        return data
    return png_optimize.optimize(png_optimize.encode(image, ancillary), settings.effort)


def _with_palette(image: Image.Image, ancillary: list[Chunk], quality: int, effort: Effort) -> Iterator[bytes]:
    # How visible a colour step is depends on the transfer curve. Without a screen's curve only exact palettes do.
    if quality == 100 or not png_chunks.is_perceptually_uniform(ancillary):
        return
    if reduced := png_palette.reduce(_reduce_alpha(image), quality, effort):
        chunks = [reduced[0], *ancillary, *reduced[1:]]
        max_level = 4 if effort is Effort.SMALL else png_optimize.PALETTE_LEVEL
        yield png_optimize.optimize(chunks, effort, max_level=max_level)


def _encode_animation(frames: Sequence[Image.Image], settings: EncodeSettings) -> bytes:
    first, *rest = frames
    data = save(
        first,
        "PNG",
        save_all=True,
        append_images=rest,
        duration=list(settings.durations_ms),
        loop=settings.play_count,
        compress_level=1,
        # Otherwise Pillow takes this from the source.
        default_image=False,
    )
    chunks = png_chunks.read(data)
    chunks[1:1] = png_chunks.new_ancillary_chunks(settings.extras, first.info)
    return png_optimize.optimize(chunks, settings.effort)


def _must_keep_storage(chunks: list[Chunk]) -> bool:
    """Whether depth and colour type must stay: for animations, 16 bits, an existing palette, and a background."""
    depth, color_type = chunks[0][1][8], chunks[0][1][9]
    return has_chunk(chunks, b"acTL", b"bKGD") or depth == 16 or color_type == _PALETTE


def _has_transparency(chunks: list[Chunk]) -> bool:
    return chunks[0][1][9] in (4, 6) or has_chunk(chunks, b"tRNS")


def _reduce_alpha(image: Image.Image) -> Image.Image:
    """Drops an alpha channel that is opaque everywhere, and turns a transparent colour into an alpha channel."""
    if image.mode == "RGB" and "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("RGBA", "LA") and png_palette.is_opaque(image):
        return image.convert("RGB" if image.mode == "RGBA" else "L")
    return image
