"""TIFF pages are compressed with deflate; a file that would lose something is kept."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageFilter

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.options import Crop, OutputFormat
from tests.imaging.corpus import tiff as tiff_tags
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import decode
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


def with_samples(bits: int, count: int, photometric: int, **more: Any) -> bytes:
    """40 x 30 pixels of equal samples, as rows of bits."""
    planes = count if more.get("t284") == (2,) else 1
    row = (40 * bits * count // planes + 7) // 8
    big, order = more.pop("big", False), more.pop("order", "<")
    described = [(256, 3, (40,)), (257, 3, (30,)), (258, 3, (bits,) * count), (262, 3, (photometric,))]
    described += [(277, 3, (count,)), (278, 3, (30,)), (273, 4, ())]
    described += [(int(name[1:]), 3, values) for name, values in more.items()]
    return tiff_tags.tiff((described, [b"\x60" * row * 30] * planes), big=big, order=order)


UNSUPPORTED = {
    **{f"{bits} bits": with_samples(bits, 1, 1) for bits in (10, 14, 24, 64)},
    **{f"{bits} bits of RGB": with_samples(bits, 3, 2) for bits in (1, 2, 4, 10, 12, 14, 24, 32, 64)},
    "half floats": with_samples(16, 1, 1, t339=(3,)),
    "doubles": with_samples(64, 1, 1, t339=(3,)),
    "signed RGB": with_samples(8, 3, 2, t339=(2, 2, 2)),
    "planes of premultiplied RGBA": with_samples(8, 4, 2, t284=(2,), t338=(1,)),
    "planes of YCbCr": with_samples(8, 3, 6, t284=(2,), t530=(1, 1)),
    "planes of 2 bits": with_samples(2, 2, 1, t284=(2,), t338=(0,)),
    "planes of 4 bits": with_samples(4, 3, 2, t284=(2,)),
    "big-endian BigTIFF": with_samples(8, 1, 1, big=True, order=">"),
    "JPEG 2000": with_samples(8, 1, 1, t259=(34_712,)),
    "WebP": with_samples(8, 3, 2, t259=(50_001,)),
    "a palette of 16 bits": with_samples(16, 1, 3, t320=(0,) * (3 << 16)),
}


@pytest.mark.parametrize("form", [OutputFormat.ORIGINAL, OutputFormat.PNG])
@pytest.mark.parametrize("data", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_sound_tiff_that_pillow_cannot_read_is_unsupported(data: bytes, form: OutputFormat) -> None:
    with pytest.raises(ImageError, match="not supported") as refused:
        compress_data(data, format=form)

    assert refused.value.code is ImageErrorCode.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    "data",
    [
        with_samples(8, 1, 77),
        with_samples(10, 1, 77),
        with_samples(8, 1, 1, t259=(999,)),
        with_samples(8, 3, 2)[:300] + with_samples(8, 3, 2)[2_000:],
    ],
    ids=["unknown colours", "unknown depth and colours", "unknown compression", "bytes missing"],
)
def test_damaged_tiff_is_corrupt(data: bytes) -> None:
    with pytest.raises(ImageError) as refused:
        compress_data(data)

    assert refused.value.code is ImageErrorCode.CORRUPT


@pytest.mark.parametrize(
    "data",
    [with_samples(8, 1, 1, t339=(2,)), with_samples(16, 1, 1, t339=(2,)), with_samples(16, 1, 0)],
    ids=["signed, 8 bits", "signed, 16 bits", "white is zero, 16 bits"],
)
def test_samples_that_pillow_misreads_are_kept_and_not_changed(data: bytes) -> None:
    result = compress_data(data)

    assert (result.outcome, result.data) == (KEPT, data)
    for options in ({"scale": 0.5}, {"format": OutputFormat.PNG}):
        with pytest.raises(ImageError) as refused:
            compress_data(data, **options)
        assert refused.value.code is ImageErrorCode.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("form", [OutputFormat.ORIGINAL, OutputFormat.PNG])
@pytest.mark.parametrize(("bits", "kind"), [(1, 1), (2, 1), (2, 0), (4, 1), (8, 1), (16, 1)])
def test_one_plane_is_read_like_none(bits: int, kind: int, form: OutputFormat) -> None:
    one_plane, none = (with_samples(bits, 1, kind, **more) for more in ({"t284": (2,)}, {}))

    changed = [decode(compress_data(data, format=form, max_width=20).data) for data in (one_plane, none)]

    assert changed[0].tobytes() == changed[1].tobytes()


@pytest.mark.parametrize("form", [OutputFormat.ORIGINAL, OutputFormat.PNG, OutputFormat.JPEG])
def test_grey_of_12_bits_keeps_its_look(form: OutputFormat) -> None:
    # Given levels of 0x606 and 0x060 of 0xFFF
    data = with_samples(12, 1, 1)

    kept, cropped = compress_data(data), compress_data(data, format=form, crop=Crop(0, 0, 40, 20), quality=95)

    assert (kept.outcome, kept.data) == (KEPT, data)
    changed = decode(cropped.data)
    levels = [changed.getpixel((x, 3)) / (257 if changed.mode == "I;16" else 1) for x in (4, 5)]
    assert levels == pytest.approx([96, 6], abs=3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("alpha", [False, True])
def test_planes_of_16_bits_keep_their_colors(order: str, alpha: bool) -> None:
    # Given a row of 40 pixels in which each sample grows by one level, and differs in its low byte
    firsts = (0x1000, 0x4000, 0x8000, 0xC000)[: 3 + alpha]
    rows = [struct.pack(order + "40H", *(first + 256 * x + 7 for x in range(40))) * 30 for first in firsts]
    size = [(256, 3, (40,)), (257, 3, (30,)), (258, 3, (16,) * len(firsts)), (262, 3, (2,)), (277, 3, (len(firsts),))]
    layout = [(278, 3, (30,)), (284, 3, (2,)), (273, 4, ()), *([(338, 3, (2,))] if alpha else [])]
    data = tiff_tags.tiff(([*size, *layout], rows), order=order)

    kept, changed = compress_data(data), decode(compress_data(data, format=OutputFormat.PNG).data)

    assert (kept.outcome, kept.data) == (KEPT, data)
    assert changed.convert("RGBA").getpixel((5, 3)) == (0x15, 0x45, 0x85, 0xC5 if alpha else 255)


@pytest.mark.parametrize("form", OutputFormat)
def test_grey_with_premultiplied_alpha_is_converted(form: OutputFormat) -> None:
    # Samples of 0x60: alpha 96 of 255, and as much grey as alpha, which is white.
    data = with_samples(8, 2, 1, t338=(1,))

    kept, changed = compress_data(data), decode(compress_data(data, format=form, max_width=20).data)

    assert (kept.outcome, kept.data) == (KEPT, data)
    pixel = changed.convert("RGBA").getpixel((9, 7))
    assert pixel == (255, 255, 255, 255 if form is OutputFormat.JPEG else pytest.approx(96, abs=1))
