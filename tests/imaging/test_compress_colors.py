"""Colours look the same before and after, in every colour space."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageCms

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.color_profiles import convert_with_profile
from gql_imgproc.imaging.options import ImageFilter, Metadata, OutputFormat
from tests.imaging.corpus import bmp, heic, jpeg, png, tiff
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import decode, displayed_psnr_db, frames, is_displayed_equal, min_psnr_db, over
from tests.imaging.corpus.images import SRGB, encode, photo, to_mode
from tests.imaging.corpus.profiles import cmyk_profile, linear_profile
from tests.imaging.test_compress_avif import with_property

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


DISPLAY_P3 = struct.pack(">8I", 31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)


@pytest.mark.parametrize("form", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
@pytest.mark.parametrize(
    ("gamma", "more", "shown"),
    [
        # What Chromium 156 shows of the level (200, 60, 30).
        (45_455, (), (219, 37, 0)),
        (100_000, (), (244, 127, 87)),
        (45_455, ((b"sRGB", b"\0"),), (200, 60, 30)),
        (None, (), (200, 60, 30)),
    ],
)
def test_primaries_of_a_png_are_kept(
    gamma: int | None, more: tuple[tuple[bytes, bytes], ...], shown: tuple[int, ...], form: OutputFormat
) -> None:
    chunks = [(b"gAMA", struct.pack(">I", gamma))] if gamma else []
    data = png.png((40, 30), 8, png.RGB, bytes((200, 60, 30)) * 1200, *chunks, (b"cHRM", DISPLAY_P3), *more)

    result = compress_data(data, format=form, quality=95)

    image = decode(result.data)
    seen = image.convert("RGB")
    if icc := image.info.get("icc_profile"):
        seen = convert_with_profile(seen, icc) or seen
    assert is_near(seen.getpixel((20, 15)), shown, tolerance=4)
    assert bool(icc) is (shown != (200, 60, 30))
    assert result.warning is None


def test_primaries_that_are_no_colors_are_ignored() -> None:
    gamma = (b"gAMA", struct.pack(">I", 45_455))
    for numbers in (bytes(32), struct.pack(">8I", *[33_333] * 8), struct.pack(">8I", *[2**31] * 8)):
        data = png.png((40, 30), 8, png.RGB, bytes((200, 60, 30)) * 1200, gamma, (b"cHRM", numbers))

        assert "icc_profile" not in decode(compress_data(data, format=OutputFormat.WEBP).data).info


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


BROKEN = {
    "cut off": SRGB[:200],
    "text": b"not a profile",
    "zeros": bytes(128),
    "no signature": SRGB[:36] + b"xxxx" + SRGB[40:],
    "wrong size": struct.pack(">I", 99) + SRGB[4:],
}


@pytest.mark.parametrize("icc", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("form", [form for form in OutputFormat if form is not OutputFormat.ORIGINAL])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_broken_profile_is_not_embedded(name: str, form: OutputFormat, icc: bytes) -> None:
    data = encode(photo(), name, icc_profile=icc, **({"compress_level": 0} if name == "PNG" else {"quality": 99}))

    result = compress_data(data, format=form)

    assert result.outcome is COMPRESSED
    assert "icc_profile" not in decode(result.data).info
    assert displayed_psnr_db(data, result.data) > 25


@pytest.mark.parametrize("form", OutputFormat)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("space", [b"GRAY", b"RGB "])
@pytest.mark.parametrize("alpha", [False, True])
def test_grey_image_keeps_the_look_of_its_profile(name: str, form: OutputFormat, space: bytes, alpha: bool) -> None:
    if alpha and name == "JPEG":
        pytest.skip("no alpha")
    image = Image.new("LA", (40, 30), (55, 255)) if alpha else Image.new("L", (40, 30), 55)
    data = encode(image, name, icc_profile=linear_profile(space))

    result = decode(compress_data(data, format=form, max_width=20).data)

    # Linear 55/255 is level 128 of sRGB. Either the profile stays, or it is applied.
    icc, level = result.info.get("icc_profile"), result.convert("RGB").getpixel((9, 7))[0]
    assert (icc, level) == (linear_profile(space), pytest.approx(55, abs=2)) or (icc, level) == (
        None,
        pytest.approx(128, abs=2),
    )
    if icc is not None and icc[16:20] == b"GRAY":
        assert result.mode in ("L", "LA") or form is OutputFormat.AVIF
        assert form is not OutputFormat.WEBP


def test_profile_for_grey_does_not_stay_with_rgb() -> None:
    data = encode(photo(), "PNG", icc_profile=linear_profile(b"GRAY"), compress_level=0)

    for form in OutputFormat:
        assert "icc_profile" not in decode(compress_data(data, format=form).data).info


@pytest.mark.parametrize("icc", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("metadata", Metadata)
@pytest.mark.parametrize(("name", "settings"), [("WEBP", {"lossless": True}), ("WEBP", {"quality": 5}), ("AVIF", {})])
def test_kept_file_loses_its_broken_profile(
    name: str, settings: dict[str, Any], metadata: Metadata, icc: bytes
) -> None:
    # The second pass over an AVIF of this quality keeps it.
    first = compress_data(encode(photo(), name, **({"quality": 90} | settings)), metadata=metadata).data
    data = with_profile(first, icc)

    result = compress_data(data, metadata=metadata)

    assert decode(data).info["icc_profile"] == icc
    assert "icc_profile" not in decode(result.data).info
    assert is_displayed_equal(result.data, data)
    assert (result.outcome, len(result.data) <= len(data)) == (COMPRESSED, True)
    assert compress_data(result.data, metadata=metadata).data == result.data


def test_broken_profile_that_is_essential_stays() -> None:
    kept = compress_data(encode(photo(), "AVIF", quality=90)).data
    data = with_property(kept, struct.pack(">I", 12 + 13) + b"colrprof" + BROKEN["text"])

    assert compress_data(data).data == data


@pytest.mark.parametrize("name", ["WEBP", "AVIF"])
def test_kept_file_keeps_its_profile(name: str) -> None:
    once = compress_data(encode(photo(), name, quality=90, icc_profile=SRGB)).data

    result = compress_data(once)

    assert (result.outcome, result.data) == (KEPT, once)
    assert decode(once).info["icc_profile"] == SRGB


def with_profile(data: bytes, icc: bytes) -> bytes:
    """The file, a WebP or one of our AVIFs, with this profile and the same pixels."""
    if data.startswith(b"RIFF"):
        width, height = decode(data).size
        chunks = [(b"VP8X", b"\x20\0\0\0" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3])]
        chunks += [(b"ICCP", icc)]
        body = b"".join(k + struct.pack("<I", len(c)) + c + bytes(len(c) & 1) for k, c in chunks) + data[12:]
        return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    changed = with_property(data, struct.pack(">I", 12 + len(icc)) + b"colrprof" + icc)
    # As encoders write it, the property is not essential.
    ipma = changed.index(b"ipma")
    return changed[:ipma] + changed[ipma:].replace(b"\x85", b"\x05", 1)


NCLX = b"colrnclx" + struct.pack(">HHH", 1, 13, 6)
PQ, WIDE = (9, 16), (12, 13)


def video_avif(colors: tuple[int, int], image: Image.Image | None = None) -> bytes:
    return encode(image or photo(), "AVIF", quality=95).replace(
        NCLX, NCLX[:8] + struct.pack(">HH", *colors) + NCLX[-2:]
    )


def video_heic(colors: tuple[int, int]) -> bytes:
    nclx = heic.box(b"colr", b"nclx", struct.pack(">HHHB", *colors, 6, 0x80))
    return heic.build(heic.coded(heic.QUARTERS, heic.size(), nclx))


def video_png(colors: tuple[int, int], image: Image.Image | None = None) -> bytes:
    return png.png((240, 160), 8, png.RGB, (image or photo()).tobytes(), (b"cICP", bytes((*colors, 0, 1))))


SOURCES = {"AVIF": video_avif, "HEIC": video_heic, "PNG": video_png}


@pytest.mark.parametrize("colors", [PQ, WIDE])
@pytest.mark.parametrize("name", SOURCES)
def test_hdr_and_wide_gamut_keep_their_look_in_avif_and_png(name: str, colors: tuple[int, int]) -> None:
    data = SOURCES[name](colors)

    as_avif = compress_data(data, format=OutputFormat.AVIF, scale=0.5)
    as_png = compress_data(data, format=OutputFormat.PNG, scale=0.5)

    assert NCLX[:8] + struct.pack(">HH", *colors) in as_avif.data
    assert png.chunk(as_png.data, b"cICP") == bytes((*colors, 0, 1))
    assert (as_avif.warning, as_png.warning) == (None, None)
    assert compress_data(as_avif.data).data == as_avif.data
    assert min_psnr_db([decode(as_png.data)], [decode(as_avif.data)]) > 25


@pytest.mark.parametrize("colors", [PQ, (10, 13)])
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("form", [OutputFormat.JPEG, OutputFormat.WEBP])
def test_lost_hdr_and_unusual_colors_are_reported(name: str, form: OutputFormat, colors: tuple[int, int]) -> None:
    result = compress_data(SOURCES[name](colors), format=form)

    assert result.warning is not None
    assert result.warning.startswith("The image is HDR or has unusual colours without an ICC profile")
    assert "icc_profile" not in decode(result.data).info


#: By the matrices of CSS Color 4.
@pytest.mark.parametrize(("colors", "shown"), [(WIDE, (157, 108, 86)), ((9, 1), (171, 104, 86))])
@pytest.mark.parametrize("source", [video_avif, video_png])
@pytest.mark.parametrize("form", [OutputFormat.JPEG, OutputFormat.WEBP])
def test_wide_gamut_gets_a_profile_in_other_formats(
    source: Callable[..., bytes], form: OutputFormat, colors: tuple[int, int], shown: tuple[int, ...]
) -> None:
    data = source(colors, Image.new("RGB", (240, 160), (150, 110, 90)))

    result = compress_data(data, format=form, quality=95)

    image = decode(result.data)
    seen = convert_with_profile(image.convert("RGB"), image.info["icc_profile"])
    assert seen is not None
    assert is_near(seen.getpixel((20, 15)), shown, tolerance=5)
    assert result.warning is None


def test_nothing_is_reported_of_colors_that_stay() -> None:
    srgb, kept = encode(photo(), "AVIF"), video_avif(PQ)

    assert compress_data(srgb, format=OutputFormat.JPEG).warning is None
    assert (compress_data(kept).data, compress_data(kept).warning) == (kept, None)
