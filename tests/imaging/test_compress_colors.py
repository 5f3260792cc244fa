"""Colours mean the same before and after, whatever they are stored as."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from PIL import Image, ImageCms

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.options import ImageFilter, OutputFormat
from tests.imaging.corpus import bmp, jpeg, png, tiff
from tests.imaging.corpus.compressing import COMPRESSED, KEPT, done
from tests.imaging.corpus.displayed import fidelity, frames, look_alike, opened, over
from tests.imaging.corpus.images import SRGB, bytes_of, in_mode, photo
from tests.imaging.corpus.profiles import inks

GREY_FILTER = (ImageFilter.GRAYSCALE,)


def near(pixel: object, colour: tuple[int, ...], by: int = 6) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) <= by for a, b in zip(pixel, colour, strict=True))


def cyan(name: str, icc: bytes) -> bytes:
    return bytes_of(Image.new("CMYK", (40, 30), (255, 0, 0, 0)), name, icc_profile=icc)


@pytest.mark.parametrize("form", [OutputFormat.PNG, OutputFormat.WEBP, OutputFormat.AVIF])
@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_inks_become_what_their_profile_says(name: str, form: OutputFormat) -> None:
    with_profile, broken, without = (opened(done(cyan(name, p), format=form).data) for p in (inks(), inks()[:200], b""))

    shown = ImageCms.profileToProfile(
        Image.new("CMYK", (1, 1), (255, 0, 0, 0)),
        ImageCms.ImageCmsProfile(BytesIO(inks())),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    ).getpixel((0, 0))
    red, green, blue = shown
    assert red > 200 > 120 > max(green, 0)
    assert near(with_profile.convert("RGB").getpixel((20, 15)), (red, green, blue))
    assert "icc_profile" not in with_profile.info
    # What a reader without the profile would show.
    assert near(without.convert("RGB").getpixel((20, 15)), (0, 255, 255))
    assert near(broken.convert("RGB").getpixel((20, 15)), (0, 255, 255))


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_inks_stay_inks_with_their_profile(name: str) -> None:
    data = bytes_of(photo().convert("CMYK"), name, icc_profile=inks(), **({"quality": 95} if name == "JPEG" else {}))

    plain, half = opened(done(data).data), opened(done(data, scale=0.5).data)

    assert (plain.mode, half.mode) == ("CMYK", "CMYK")
    assert plain.info["icc_profile"] == half.info["icc_profile"] == inks()


def test_no_ink_is_stored_at_a_quarter() -> None:
    result = done(jpeg.sources()["cmyk"])

    with Image.open(BytesIO(result.data)) as after:
        assert [(across, down) for _, across, down, _ in after.layer] == [(1, 1)] * 4


def test_a_filter_makes_colours_of_inks_by_their_profile() -> None:
    after = opened(done(cyan("TIFF", inks()), filters=GREY_FILTER).data)

    assert (after.mode, "icc_profile" in after.info) == ("L", False)
    assert after.getpixel((20, 15)) != Image.new("RGB", (1, 1), (0, 255, 255)).convert("L").getpixel((0, 0))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_grey_has_no_profile_of_colours(name: str) -> None:
    data = bytes_of(photo(), name, icc_profile=SRGB)

    after = opened(done(data, filters=GREY_FILTER).data)

    assert "icc_profile" not in after.info
    assert look_alike([photo().convert("L")], [after]) > 25


@pytest.mark.parametrize("form", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
def test_linear_light_is_seen_as_before_where_gamma_cannot_be_told(form: OutputFormat) -> None:
    rows = bytes((55, 55, 55)) * 1200
    linear = png.png((40, 30), 8, png.RGB, rows, (b"gAMA", struct.pack(">I", 100_000)))

    after = opened(done(linear, format=form).data).convert("RGB").getpixel((20, 15))
    stays = opened(done(linear, scale=0.5).data)

    # A light of 55/255 is level 128 of sRGB.
    assert near(after, (128, 128, 128), by=3)
    assert (stays.convert("RGB").getpixel((5, 5)), stays.info["gamma"]) == ((55, 55, 55), 1.0)


def test_hdr_stays_told_when_a_png_is_scaled() -> None:
    hdr = bytes((9, 16, 0, 1))
    data = png.png((40, 30), 8, png.RGB, photo(40, 30).tobytes(), (b"cICP", hdr))

    assert png.chunk(done(data, scale=0.5).data, b"cICP") == hdr


@pytest.mark.parametrize("form", [OutputFormat.ORIGINAL, OutputFormat.WEBP])
@pytest.mark.parametrize("colour", [png.GREY, png.RGB])
def test_a_clear_colour_of_16_bits_stays_clear(colour: int, form: OutputFormat) -> None:
    rows = struct.pack(">6H", *[0x1234] * 3, *[0x9ABC] * 3) if colour == png.RGB else struct.pack(">2H", 0x1234, 0x9ABC)
    key = struct.pack(">3H", *[0x1234] * 3) if colour == png.RGB else struct.pack(">H", 0x1234)
    wide = b"".join(rows[: len(rows) // 2] * 20 + rows[len(rows) // 2 :] * 20 for _ in range(30))
    data = png.png((40, 30), 16, colour, wide, (b"tRNS", key))

    after = opened(done(data, scale=0.5, format=form).data).convert("RGBA")

    assert after.getchannel("A").getpixel((2, 5)) == 0
    assert near(after.getpixel((17, 5)), (0x9A, 0x9A, 0x9A, 255), by=4)


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bits_of_grey_stay_when_scaled_or_cropped(name: str) -> None:
    source = in_mode(photo(), "I;16")

    after = opened(done(bytes_of(source, name), scale=0.5).data)

    wanted = source.resize((120, 80), Image.Resampling.LANCZOS)
    assert (after.mode, after.tobytes()) == ("I;16", wanted.tobytes())


def test_16_bits_of_a_big_endian_tiff_stay_too() -> None:
    grey = in_mode(photo(), "I;16")
    swapped = bytes(n for pair in zip(grey.tobytes()[1::2], grey.tobytes()[::2], strict=True) for n in pair)
    data = tiff.tiff(([*tiff.tags(grey, 1, t258=(16,)), (273, 4, ())], [swapped]), order=">")
    assert opened(data).mode == "I;16B"

    after = opened(done(data, scale=0.5).data)

    assert after.tobytes() == grey.resize((120, 80), Image.Resampling.LANCZOS).tobytes()


@pytest.mark.parametrize("name", ["floating point", "32 bits"])
def test_numbers_without_a_white_cannot_be_changed(name: str) -> None:
    data = tiff.sources()[name]

    with pytest.raises(ImageError, match=r"does not state which value is white") as refused:
        done(data, scale=0.5)

    assert refused.value.code is ImageErrorCode.UNSUPPORTED_FORMAT
    assert done(data).outcome is KEPT


def test_few_colours_of_a_gif_stay_exact_when_it_is_cropped() -> None:
    colours = [(n, 255 - n, n * 7 % 256) for n in range(256)]
    image = Image.new("RGB", (64, 64))
    image.putdata([colours[n // 16] for n in range(4096)])
    data = bytes_of(image.quantize(256), "GIF")

    after = frames(done(data, max_width=64, max_height=64, filters=(ImageFilter.AUTOCONTRAST,)).data)

    wanted = [over(frames(data)[0], "white")]
    assert look_alike(wanted, after) == 99


def test_a_bmp_of_other_colours_than_a_screens_is_kept() -> None:
    sources = bmp.sources()

    assert done(sources["a profile, version 5"]).outcome is KEPT
    assert done(sources["sRGB, version 5"]).outcome is COMPRESSED


def test_a_profile_of_two_megabytes_in_a_png_is_kept() -> None:
    icc = SRGB + bytes(2_000_000)

    result = done(bytes_of(photo(), "PNG", compress_level=0, icc_profile=icc))

    assert result.outcome is COMPRESSED
    assert fidelity(result.data, bytes_of(photo(), "PNG")) == 99
    assert png.chunk(result.data, b"iCCP") is not None
