"""Every image of the corpus is compressed or kept, looks the same, and is not changed by a second pass."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from gql_imgproc.imaging.compress import ImageLimits, compress, inspect
from gql_imgproc.imaging.options import DEFAULT, Crop, ImageFilter, Options, OutputFormat
from tests.imaging.corpus import bmp, gif, jpeg, png, tiff, webp
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import displayed_psnr_db, frames, is_displayed_equal, min_psnr_db, timeline
from tests.imaging.corpus.images import SRGB, encode, photo, quarters, to_mode

# Pillow warns about broken EXIF and continues.
pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
LOSSY = {f"JPEG: {name}": data for name, data in jpeg.sources().items()}
LOSSY |= {f"WebP: {name}": data for name, data in webp.sources().items()}
LOSSY |= {"AVIF": encode(photo(), "AVIF", quality=92, speed=9)}
EXACT = {f"GIF: {name}": data for name, data in gif.sources().items()}
EXACT |= {f"TIFF: {name}": data for name, data in tiff.sources().items()}
EXACT |= {f"BMP: {name}": data for name, data in bmp.sources().items()}
EXACT |= {f"PNG: {name}": data for name, data in png.sources((40, 30))}
EXACT |= {
    f"PNG: 16 bits, colour type {n}": png.png_16_bit(n) for n in (png.GREY, png.RGB, png.GREY_ALPHA, png.RGB_ALPHA)
}
EXACT |= {f"APNG: {name}": png.animation(**traits) for name, traits in png.ANIMATIONS.items()}
SOURCES = LOSSY | EXACT
#: Sources that are kept byte for byte. docs/COMPRESSION.md has the reasons.
KEPT_SOURCES = {
    "WebP: lossless",
    "WebP: lossy and lossless",
    "WebP: one frame",
    *(name for name in EXACT if name.startswith("GIF")),
    *(f"TIFF: {name}" for name in ("P", "LA", "YCbCr", "Lab", "floating point", "32 bits", "fax", "JPEG")),
    *(
        f"TIFF: {name}"
        for name in ("a fourth sample without a meaning", "resolution without a unit", "a page that is a mask")
    ),
    *(f"BMP: {name}" for name in ("1 bit", "8 bits", "grey", "24 bits", "32 bits with alpha", "16 bits")),
    *(f"BMP: {name}" for name in ("16 bits with masks", "run lengths", "a profile, version 5")),
}
OPTIONS = {
    "half": Options(scale=0.5),
    "tiny": Options(scale=0.05),
    "cropped": Options(crop=Crop(1, 0, 2, 2)),
    "fitted": Options(max_width=33, max_height=17),
    "grey": Options(filters=(ImageFilter.GRAYSCALE,)),
    "autocontrast": Options(filters=(ImageFilter.AUTOCONTRAST,)),
    **{form.value: Options(format=form) for form in OutputFormat if form is not OutputFormat.ORIGINAL},
}
UNDEFINED_WHITE = ("TIFF: floating point", "TIFF: 32 bits")


def read_properties(data: bytes) -> tuple[object, ...]:
    with Image.open(BytesIO(data)) as image:
        return image.size, image.info.get("icc_profile"), image.info.get("loop"), image.info.get("gamma")


@pytest.mark.parametrize("name", SOURCES)
def test_result_is_smaller_or_kept_and_looks_the_same(name: str) -> None:
    data = SOURCES[name]

    result = compress_data(data)

    assert result.outcome is (KEPT if name in KEPT_SOURCES else COMPRESSED)
    assert len(result.data) <= 0.95 * len(data) if result.outcome is COMPRESSED else result.data == data
    assert read_properties(result.data) == read_properties(data)
    assert inspect(result.data, ImageLimits()) == inspect(data, ImageLimits())
    if name == "JPEG: two images (MPO)":
        assert min_psnr_db(frames(data)[:1], frames(result.data)) > 28
    elif name in EXACT:
        assert is_displayed_equal(data, result.data)
        assert timeline(result.data) == timeline(data)
    else:
        assert displayed_psnr_db(data, result.data) >= 22
        assert [ms for _, ms in timeline(result.data)] == [ms for _, ms in timeline(data)]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", [name for name in SOURCES if name not in UNDEFINED_WHITE])
def test_default_options_keep_every_output(name: str, options: str) -> None:
    if inspect(SOURCES[name], ImageLimits()).width < 3 and options == "cropped":
        pytest.skip("too narrow")
    once = compress(SOURCES[name], OPTIONS[options], ImageLimits()).data

    twice = compress(once, DEFAULT, ImageLimits())

    assert (twice.outcome, twice.data) == (KEPT, once)


@pytest.mark.parametrize("name", SOURCES)
def test_default_options_keep_their_own_output(name: str) -> None:
    once = compress_data(SOURCES[name]).data

    assert compress_data(once).data == once


@pytest.mark.parametrize("name", EXACT)
def test_quality_100_is_lossless(name: str) -> None:
    assert is_displayed_equal(EXACT[name], compress_data(EXACT[name], quality=100).data)


@pytest.mark.parametrize(
    "name", [name for name in EXACT if name.startswith(("GIF", "BMP")) and len(frames(EXACT[name])) == 1]
)
def test_lossless_source_converts_to_png_with_at_least_the_palette_psnr(name: str) -> None:
    data = EXACT[name]

    converted = compress_data(data, format=OutputFormat.PNG).data

    assert is_displayed_equal(data, converted) if name.startswith("GIF") else displayed_psnr_db(data, converted) >= 36


ORIENTED = {
    "JPEG": jpeg.oriented,
    "TIFF": tiff.oriented,
    **{
        name: (lambda n, name=name: encode(quarters(), name, exif=jpeg.exif(n), icc_profile=SRGB))
        for name in ("PNG", "WEBP", "AVIF")
    },
}


@pytest.mark.parametrize("keep_metadata", [False, True])
@pytest.mark.parametrize("form", [OutputFormat.ORIGINAL, OutputFormat.PNG, OutputFormat.AVIF])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ORIENTED)
def test_orientation_is_applied_once(name: str, orientation: int, form: OutputFormat, keep_metadata: bool) -> None:
    data = ORIENTED[name](orientation)
    [before] = frames(data)

    plain = compress_data(data, format=form, keep_metadata=keep_metadata)
    part = compress_data(data, format=form, keep_metadata=keep_metadata, crop=Crop(0, 0, 70, 50))

    assert (plain.width, plain.height) == before.size
    assert min_psnr_db([before], frames(plain.data)) > 25
    assert min_psnr_db([before.crop((0, 0, 70, 50))], frames(part.data)) > 25


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("icc", [False, True])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_every_mode_keeps_its_profile(form: str, mode: str, icc: bool) -> None:
    profile = {"icc_profile": SRGB} if icc else {}
    data = encode(to_mode(photo(), mode), form, **({"compress_level": 0} if form == "PNG" else {}), **profile)

    result = compress_data(data)

    assert is_displayed_equal(data, result.data)
    assert read_properties(result.data) == read_properties(data)
