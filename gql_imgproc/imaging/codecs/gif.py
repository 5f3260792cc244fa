"""GIF: already lossless, with at most 256 colours, so a source is never recompressed."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from PIL import Image, ImageChops

from gql_imgproc.imaging import color_count
from gql_imgproc.imaging.encode import EncodeSettings, save
from gql_imgproc.imaging.errors import corrupt_image, too_large
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.opened_image import OpenedImage, load
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.structure import ImageStructure

#: Sub-blocks of a GIF (at most 255 bytes each). Walking 1,000,000 of them takes about 60 ms.
_MAX_SUB_BLOCKS = 1_000_000
#: Pixels with at least this alpha become opaque.
_MIN_OPAQUE_ALPHA = 128


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _color_table_bytes(flags)
    first: tuple[int, int] | None = None
    widest, highest, duration_ms, play_count, blocks = width, height, 0, 1, 0
    durations_ms: list[int] = []
    while at < len(data):
        kind = data[at]
        if kind == 0x3B:
            break
        if kind == 0x2C:
            x, y, w, h, local_flags = struct.unpack_from("<HHHHB", data, at + 1)
            widest, highest = max(widest, x + w), max(highest, y + h)
            first = first or (max(width, x + w), max(height, y + h))
            durations_ms.append(duration_ms)
            # A graphic control extension applies to one frame (GIF89a, 23).
            duration_ms = 0
            if len(durations_ms) > limits.max_frames:
                raise too_large(f"The animation has more than {limits.max_frames:,} frames, which is the limit.")
            at += 11 + _color_table_bytes(local_flags)
        elif kind == 0x21:
            if data[at + 1] == 0xF9:
                duration_ms = 10 * int.from_bytes(data[at + 4 : at + 6], "little")
            elif _is_loop_extension(data, at):
                repeats = int.from_bytes(data[at + 16 : at + 18], "little")
                play_count = repeats + 1 if repeats else 0
            at += 2
        else:
            at += 1
            blocks += 1
            if blocks > _MAX_SUB_BLOCKS:
                break
            continue
        at, blocks = _skip_sub_blocks(data, at, blocks)
    if first is None:
        raise corrupt_image("The GIF is damaged: it contains no frame.")
    return ImageStructure(
        *first,
        frames=len(durations_ms),
        area=widest * highest,
        play_count=play_count,
        durations_ms=tuple(durations_ms),
    )


def _skip_sub_blocks(data: bytes, at: int, blocks: int) -> tuple[int, int]:
    """The offset after the sub-blocks at `at`, and the number of blocks so far."""
    while n := data[at]:
        at += n + 1
        blocks += 1
        if blocks > _MAX_SUB_BLOCKS:
            raise corrupt_image("The GIF is damaged: it is split into too many blocks.")
    return at + 1, blocks


def _is_loop_extension(data: bytes, at: int) -> bool:
    return data[at + 1] == 0xFF and data[at + 3 : at + 14] == b"NETSCAPE2.0" and data[at + 15] == 1


def _color_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """Yields nothing. The first frame is decoded so that a damaged one is not stored."""
    load(source.image)
    return ()


def encode(images: Sequence[Image.Image], settings: EncodeSettings) -> bytes:
    first, *rest = [_to_palette(image) for image in images]
    comment = settings.extras.comment
    if not settings.durations_ms:
        return save(first, "GIF", optimize=True, comment=comment)
    # A GIF states the repeats after the first play, and leaves the number out when it plays once.
    loop = {} if settings.play_count == 1 else {"loop": max(0, settings.play_count - 1)}
    durations_ms = list(settings.durations_ms)
    return save(
        first, "GIF", save_all=True, append_images=rest, duration=durations_ms, disposal=2, comment=comment, **loop
    )


def _to_palette(image: Image.Image) -> Image.Image:
    """At most 256 colours, one of them for transparent pixels. Colours are exact if there are not more."""
    if image.mode == "L":
        return image
    if image.mode not in ("RGBA", "LA"):
        image = image.convert("RGB")
        if counts := color_count.count_colors(image, 256):
            return color_count.exact_palette(image, counts)
        return image.quantize(256, Image.Quantize.MEDIANCUT)
    opaque = image.getchannel("A").point(lambda alpha: 255 if alpha >= _MIN_OPAQUE_ALPHA else 0)
    # Transparent pixels get one colour, so that they do not take palette entries of visible ones.
    visible = Image.new("RGB", image.size)
    visible.paste(image.convert("RGB"), mask=opaque)
    transparent = ImageChops.invert(opaque)
    if transparent.getbbox() is None:
        return _to_palette(visible)
    if counts := color_count.count_colors(visible, 255):
        reduced = color_count.exact_palette(visible, counts)
    else:
        reduced = visible.quantize(255, Image.Quantize.MEDIANCUT)
    palette = (reduced.getpalette() or [])[: 255 * 3]
    reduced.putpalette(palette + [0] * (256 * 3 - len(palette)))
    reduced.paste(255, mask=transparent)
    reduced.info["transparency"] = 255
    return reduced
