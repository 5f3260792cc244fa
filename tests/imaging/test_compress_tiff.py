"""TIFF pages are compressed with deflate; a file that would lose something is kept."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageFilter

from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.images import SRGB, encode

ADOBE_DEFLATE, PREDICTOR, DIFFERENCES = 8, 317, 2


def soft(mode: str = "RGB", angle: int = 0) -> Image.Image:
    """A page of soft shades. Neighbouring pixels differ little, so differences compress better."""
    grey = Image.radial_gradient("L").rotate(angle).filter(ImageFilter.BLUR)
    if mode == "I;16":
        return Image.frombytes("I;16", grey.size, b"".join(bytes((n, n)) for n in grey.tobytes()))
    return Image.merge("RGB", [grey, grey.rotate(90), grey.rotate(180)]).convert(mode)


def tiff(*pages: Image.Image, **settings: Any) -> bytes:
    return encode(pages[0], "TIFF", save_all=True, append_images=pages[1:], **settings)


def pages_of(data: bytes) -> list[Image.Image]:
    with Image.open(BytesIO(data)) as image:
        out = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            out.append(image.copy())
        return out


@pytest.mark.parametrize("compression", [None, "packbits", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "I;16"])
def test_page_is_compressed_losslessly(mode: str, compression: str | None) -> None:
    page = soft(mode)
    data = tiff(page, compression=compression, dpi=(300, 300))

    result = compress_data(data)

    with Image.open(BytesIO(result.data)) as after:
        assert (result.outcome, after.mode, after.info["compression"]) == (COMPRESSED, mode, "tiff_adobe_deflate")
        assert after.tag_v2[PREDICTOR] == DIFFERENCES
        assert after.info["dpi"] == (300, 300)
        assert after.tobytes() == page.tobytes()
    assert compress_data(result.data).data == result.data


def test_every_page_is_kept() -> None:
    pages = [soft(), soft("L", 30), soft("RGBA", 60), soft("1")]

    result = compress_data(tiff(*pages, icc_profile=SRGB))

    after = pages_of(result.data)
    assert result.outcome is COMPRESSED
    assert [(page.mode, page.tobytes()) for page in after] == [(page.mode, page.tobytes()) for page in pages]
    with Image.open(BytesIO(result.data)) as image:
        for number in range(4):
            image.seek(number)
            assert image.info["icc_profile"] == SRGB


def encode_rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return tiff(soft(), exif=exif)


KEPT_SOURCES: dict[str, bytes] = {
    "a page in JPEG coding": tiff(soft(), compression="jpeg", quality=95),
    "a fax": tiff(soft("1"), compression="group4"),
    "a transfer function": tiff(soft("L"), tiffinfo={301: tuple(range(256))}),
    "a white point": tiff(soft(), tiffinfo={318: (0.3127, 0.329)}),
    "floating point": tiff(soft("L").convert("F")),
    "a palette": tiff(soft().quantize(64)),
    "rotated": encode_rotated(),
}


@pytest.mark.parametrize("name", KEPT_SOURCES)
def test_file_that_would_lose_something_is_kept(name: str) -> None:
    data = KEPT_SOURCES[name]

    result = compress_data(data)

    assert (result.outcome, result.data == data) == (KEPT, True)


def test_pages_with_different_resolutions_are_kept() -> None:
    first, second = soft(), soft("L")
    first.encoderinfo, second.encoderinfo = {"dpi": (72, 72)}, {"dpi": (300, 300)}
    data = tiff(first, second)
    with Image.open(BytesIO(data)) as image:
        image.seek(1)
        assert image.info["dpi"] == (300, 300)

    assert compress_data(data).data == data


def test_keep_metadata_keeps_the_source_bytes() -> None:
    data = tiff(soft(), tiffinfo={270: "a caption"})

    plain, full = compress_data(data), compress_data(data, keep_metadata=True)

    with Image.open(BytesIO(plain.data)) as after:
        assert (plain.outcome, 270 in after.tag_v2) == (COMPRESSED, False)
    assert full.data == data
