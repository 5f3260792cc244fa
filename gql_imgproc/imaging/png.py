"""PNG: the same picture in fewer bytes, with a palette where nobody sees the difference.

Three ways, best first: a palette of 256 colours, exact or behind a fidelity gate; the same pixels stored better;
the source.
"""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image

from gql_imgproc.imaging import png_chunks, png_palette, png_recompress
from gql_imgproc.imaging.metadata import Extras, save
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.png_chunks import Chunk, has
from gql_imgproc.imaging.probe import load


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """With a palette, where that is faithful; then the same pixels stored better."""
    image, orientation, keep_metadata = source.image, source.anatomy.orientation, options.keep_metadata
    load(image)
    chunks = png_chunks.read(source.data)
    if not _as_it_is(chunks):
        plain = _plain(image)
        beside = png_chunks.beside(chunks, orientation, keep_metadata)
        # What is seen of a colour depends on its curve; where that is not a screen's, only exact palettes will do.
        quality = options.quality if png_chunks.is_perceptually_uniform(chunks) else 100
        for reduced in png_palette.reduced(plain, quality, profile=has(chunks, b"iCCP")):
            yield png_recompress.write_png(reduced, beside)
        if plain is not image and "transparency" not in image.info:
            # An alpha channel that says nothing goes.
            yield png_recompress.write_png(plain, beside)
            return
    yield png_recompress.recompress_losslessly(chunks, orientation, keep_metadata)


def encode(image: Image.Image, quality: int, extras: Extras) -> bytes:
    """A new PNG of pixels that were changed anyway."""
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    beside = png_chunks.beside_new_pixels(extras, image.info)
    plain = _plain(image)
    quality = quality if png_chunks.is_perceptually_uniform(beside) else 100
    return png_recompress.write_png(next(png_palette.reduced(plain, quality, profile=bool(extras.icc)), plain), beside)


def encode_animation(frames: list[Image.Image], durations_ms: list[int], plays: int, extras: Extras) -> bytes:
    first, *rest = frames
    made = save(
        first,
        "PNG",
        save_all=True,
        append_images=rest,
        duration=durations_ms,
        loop=plays,
        # Else Pillow believes what the source said of its own first picture.
        default_image=False,
    )
    chunks = png_chunks.read(made)
    chunks[1:1] = png_chunks.beside_new_pixels(extras, first.info)
    return png_recompress.recompress_losslessly(chunks, 1, keep_metadata=True)


def _as_it_is(chunks: list[Chunk]) -> bool:
    """Whether the pixels must stay stored as they are: animated, 16 bits deep, with a palette already, or with a
    background colour for what is transparent, which a palette could not name."""
    depth, colour = chunks[0][1][8], chunks[0][1][9]
    transparent = colour in (4, 6) or has(chunks, b"tRNS")
    return has(chunks, b"acTL") or depth == 16 or colour == 3 or (transparent and has(chunks, b"bKGD"))


def _plain(image: Image.Image) -> Image.Image:
    """The picture without an alpha channel that says nothing, and with one for a transparent colour."""
    if image.mode == "RGB" and "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("RGBA", "LA") and png_palette.opaque(image):
        return image.convert("RGB" if image.mode == "RGBA" else "L")
    return image
