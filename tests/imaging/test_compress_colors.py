"""Colours look the same before and after, in every colour space."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from PIL import Image, ImageCms

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.options import ImageFilter, OutputFormat
from tests.imaging.corpus import bmp, jpeg, png, tiff
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import decode, displayed_psnr_db, frames, min_psnr_db, over
from tests.imaging.corpus.images import SRGB, encode, photo, to_mode
from tests.imaging.corpus.profiles import cmyk_profile

GREY_FILTER = (ImageFilter.GRAYSCALE,)


def is_near(pixel: object, color: tuple[int, ...], tolerance: int = 6) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, color, strict=True))


def cyan(name: str, icc: bytes) -> bytes:
    return encode(Image.new("CMYK", (40, 30), (255, 0, 0, 0)), name, icc_profile=icc)


@pytest.mark.parametrize("form", [OutputFormat.PNG, OutputFormat.WEBP, OutputFormat.AVIF])
@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_cmyk_is_converted_with_its_profile(name: str, form: OutputFormat) -> None:
    profiles = cmyk_profile(), cmyk_profile()[:200], b""

    with_profile, broken, without = (decode(compress_data(cyan(name, icc), format=form).data) for icc in profiles)

    expected = ImageCms.profileToProfile(
        Image.new("CMYK", (1, 1), (255, 0, 0, 0)),
        ImageCms.ImageCmsProfile(BytesIO(cmyk_profile())),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    ).getpixel((0, 0))
    red, green, blue = expected
    assert red > 200 > 120 > max(green, 0)
    assert is_near(with_profile.convert("RGB").getpixel((20, 15)), (red, green, blue))
    assert "icc_profile" not in with_profile.info
    # Without a valid profile, the colours are those of a viewer that ignores profiles.
    assert is_near(without.convert("RGB").getpixel((20, 15)), (0, 255, 255))
    assert is_near(broken.convert("RGB").getpixel((20, 15)), (0, 255, 255))


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_cmyk_stays_cmyk_with_its_profile(name: str) -> None:
    settings = {"quality": 95} if name == "JPEG" else {}
    data = encode(photo().convert("CMYK"), name, icc_profile=cmyk_profile(), **settings)

    plain, half = decode(compress_data(data).data), decode(compress_data(data, scale=0.5).data)

    assert (plain.mode, half.mode) == ("CMYK", "CMYK")
    assert plain.info["icc_profile"] == half.info["icc_profile"] == cmyk_profile()


def test_cmyk_jpeg_is_not_subsampled() -> None:
    result = compress_data(jpeg.sources()["cmyk"])

    with Image.open(BytesIO(result.data)) as after:
        assert [(across, down) for _, across, down, _ in after.layer] == [(1, 1)] * 4


def test_filter_converts_cmyk_with_its_profile() -> None:
    after = decode(compress_data(cyan("TIFF", cmyk_profile()), filters=GREY_FILTER).data)

    assert (after.mode, "icc_profile" in after.info) == ("L", False)
    assert after.getpixel((20, 15)) != Image.new("RGB", (1, 1), (0, 255, 255)).convert("L").getpixel((0, 0))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_grayscale_drops_an_rgb_profile(name: str) -> None:
    data = encode(photo(), name, icc_profile=SRGB)

    after = decode(compress_data(data, filters=GREY_FILTER).data)

    assert "icc_profile" not in after.info
    assert min_psnr_db([photo().convert("L")], [after]) > 25


@pytest.mark.parametrize("form", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
def test_png_gamma_is_applied_for_formats_that_cannot_store_it(form: OutputFormat) -> None:
    rows = bytes((55, 55, 55)) * 1200
    linear = png.png((40, 30), 8, png.RGB, rows, (b"gAMA", struct.pack(">I", 100_000)))

    after = decode(compress_data(linear, format=form).data).convert("RGB").getpixel((20, 15))
    scaled = decode(compress_data(linear, scale=0.5).data)

    # Linear 55/255 is level 128 of sRGB.
    assert is_near(after, (128, 128, 128), tolerance=3)
    assert (scaled.convert("RGB").getpixel((5, 5)), scaled.info["gamma"]) == ((55, 55, 55), 1.0)


def test_scaled_png_keeps_its_hdr_chunk() -> None:
    hdr = bytes((9, 16, 0, 1))
    data = png.png((40, 30), 8, png.RGB, photo(40, 30).tobytes(), (b"cICP", hdr))

    assert png.chunk(compress_data(data, scale=0.5).data, b"cICP") == hdr


@pytest.mark.parametrize("form", [OutputFormat.ORIGINAL, OutputFormat.WEBP])
@pytest.mark.parametrize("colour", [png.GREY, png.RGB])
def test_16_bit_transparent_color_stays_transparent(colour: int, form: OutputFormat) -> None:
    rows = struct.pack(">6H", *[0x1234] * 3, *[0x9ABC] * 3) if colour == png.RGB else struct.pack(">2H", 0x1234, 0x9ABC)
    key = struct.pack(">3H", *[0x1234] * 3) if colour == png.RGB else struct.pack(">H", 0x1234)
    wide = b"".join(rows[: len(rows) // 2] * 20 + rows[len(rows) // 2 :] * 20 for _ in range(30))
    data = png.png((40, 30), 16, colour, wide, (b"tRNS", key))

    after = decode(compress_data(data, scale=0.5, format=form).data).convert("RGBA")

    assert after.getchannel("A").getpixel((2, 5)) == 0
    assert is_near(after.getpixel((17, 5)), (0x9A, 0x9A, 0x9A, 255), tolerance=4)


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_grey_stays_when_scaled(name: str) -> None:
    source = to_mode(photo(), "I;16")

    after = decode(compress_data(encode(source, name), scale=0.5).data)

    expected = source.resize((120, 80), Image.Resampling.LANCZOS)
    assert (after.mode, after.tobytes()) == ("I;16", expected.tobytes())


def test_16_bit_grey_of_a_big_endian_tiff_stays() -> None:
    grey = to_mode(photo(), "I;16")
    swapped = bytes(n for pair in zip(grey.tobytes()[1::2], grey.tobytes()[::2], strict=True) for n in pair)
    data = tiff.tiff(([*tiff.tags(grey, 1, t258=(16,)), (273, 4, ())], [swapped]), order=">")
    assert decode(data).mode == "I;16B"

    after = decode(compress_data(data, scale=0.5).data)

    assert after.tobytes() == grey.resize((120, 80), Image.Resampling.LANCZOS).tobytes()


@pytest.mark.parametrize("name", ["floating point", "32 bits"])
def test_samples_without_a_defined_white_cannot_be_changed(name: str) -> None:
    data = tiff.sources()[name]

    with pytest.raises(ImageError, match=r"does not state which value is white") as refused:
        compress_data(data, scale=0.5)

    assert refused.value.code is ImageErrorCode.UNSUPPORTED_FORMAT
    assert compress_data(data).outcome is KEPT


def test_gif_with_few_colors_stays_exact_when_it_is_filtered() -> None:
    colours = [(n, 255 - n, n * 7 % 256) for n in range(256)]
    image = Image.new("RGB", (64, 64))
    image.putdata([colours[n // 16] for n in range(4096)])
    data = encode(image.quantize(256), "GIF")

    after = frames(compress_data(data, max_width=64, max_height=64, filters=(ImageFilter.AUTOCONTRAST,)).data)

    expected = [over(frames(data)[0], "white")]
    assert min_psnr_db(expected, after) == 99


def test_bmp_with_another_color_space_is_kept() -> None:
    sources = bmp.sources()

    assert compress_data(sources["a profile, version 5"]).outcome is KEPT
    assert compress_data(sources["sRGB, version 5"]).outcome is COMPRESSED


def test_png_profile_of_two_megabytes_is_kept() -> None:
    icc = SRGB + bytes(2_000_000)

    result = compress_data(encode(photo(), "PNG", compress_level=0, icc_profile=icc))

    assert result.outcome is COMPRESSED
    assert displayed_psnr_db(result.data, encode(photo(), "PNG")) == 99
    assert png.chunk(result.data, b"iCCP") is not None
