"""Every picture of the corpus: smaller or kept, seen as before, and left alone by a second pass."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from gql_imgproc.imaging.compress import ImageLimits, compress, inspect
from gql_imgproc.imaging.options import DEFAULT, Crop, ImageFilter, Options, OutputFormat
from tests.imaging.corpus import bmp, gif, jpeg, png, tiff, webp
from tests.imaging.corpus.compressing import COMPRESSED, KEPT, done
from tests.imaging.corpus.displayed import fidelity, frames, look_alike, looks_the_same, played
from tests.imaging.corpus.images import SRGB, bytes_of, in_mode, photo, quarters

# Pillow says so of broken EXIF, and goes on.
pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
LOSSY = {f"JPEG: {name}": data for name, data in jpeg.sources().items()}
LOSSY |= {f"WebP: {name}": data for name, data in webp.sources().items()}
LOSSY |= {"AVIF": bytes_of(photo(), "AVIF", quality=92, speed=9)}
EXACT = {f"GIF: {name}": data for name, data in gif.sources().items()}
EXACT |= {f"TIFF: {name}": data for name, data in tiff.sources().items()}
EXACT |= {f"BMP: {name}": data for name, data in bmp.sources().items()}
EXACT |= {f"PNG: {name}": data for name, data in png.sources((40, 30))}
EXACT |= {
    f"PNG: 16 bits, colour type {n}": png.of_16_bits(n) for n in (png.GREY, png.RGB, png.GREY_ALPHA, png.RGB_ALPHA)
}
EXACT |= {f"APNG: {name}": png.animation(**traits) for name, traits in png.ANIMATIONS.items()}
SOURCES = LOSSY | EXACT
#: What is kept with its own bytes, each for a reason that docs/COMPRESSION.md tells.
KEPT_SOURCES = {
    "WebP: lossless",
    "WebP: lossy and lossless",
    "WebP: one frame",
    *(name for name in EXACT if name.startswith("GIF")),
    *(f"TIFF: {name}" for name in ("P", "LA", "YCbCr", "Lab", "floating point", "32 bits", "fax", "JPEG")),
    *(
        f"TIFF: {name}"
        for name in ("a fourth sample of no meaning", "resolution without a unit", "a page that is a mask")
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
NO_WHITE = ("TIFF: floating point", "TIFF: 32 bits")


def told(data: bytes) -> tuple[object, ...]:
    with Image.open(BytesIO(data)) as image:
        return image.size, image.info.get("icc_profile"), image.info.get("loop"), image.info.get("gamma")


@pytest.mark.parametrize("name", SOURCES)
def test_smaller_or_kept_and_seen_as_before(name: str) -> None:
    data = SOURCES[name]

    result = done(data)

    assert result.outcome is (KEPT if name in KEPT_SOURCES else COMPRESSED)
    assert len(result.data) <= 0.95 * len(data) if result.outcome is COMPRESSED else result.data == data
    assert told(result.data) == told(data)
    assert inspect(result.data, ImageLimits()) == inspect(data, ImageLimits())
    if name == "JPEG: two pictures (MPO)":
        assert look_alike(frames(data)[:1], frames(result.data)) > 28
    elif name in EXACT:
        assert looks_the_same(data, result.data)
        assert played(result.data) == played(data)
    else:
        assert fidelity(data, result.data) >= 22
        assert [ms for _, ms in played(result.data)] == [ms for _, ms in played(data)]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", [name for name in SOURCES if name not in NO_WHITE])
def test_the_default_options_leave_every_output_alone(name: str, options: str) -> None:
    if inspect(SOURCES[name], ImageLimits()).width < 3 and options == "cropped":
        pytest.skip("too narrow")
    once = compress(SOURCES[name], OPTIONS[options], ImageLimits()).data

    twice = compress(once, DEFAULT, ImageLimits())

    assert (twice.outcome, twice.data) == (KEPT, once)


@pytest.mark.parametrize("name", SOURCES)
def test_the_default_options_leave_their_own_output_alone(name: str) -> None:
    once = done(SOURCES[name]).data

    assert done(once).data == once


@pytest.mark.parametrize("name", EXACT)
def test_quality_100_loses_nothing(name: str) -> None:
    assert looks_the_same(EXACT[name], done(EXACT[name], quality=100).data)


@pytest.mark.parametrize(
    "name", [name for name in EXACT if name.startswith(("GIF", "BMP")) and len(frames(EXACT[name])) == 1]
)
def test_what_is_exact_becomes_a_png_that_is_no_worse_than_a_palette_may_be(name: str) -> None:
    data = EXACT[name]

    made = done(data, format=OutputFormat.PNG).data

    assert looks_the_same(data, made) if name.startswith("GIF") else fidelity(data, made) >= 36


ORIENTED = {
    "JPEG": jpeg.oriented,
    "TIFF": tiff.oriented,
    **{
        name: (lambda n, name=name: bytes_of(quarters(), name, exif=jpeg.exif(n), icc_profile=SRGB))
        for name in ("PNG", "WEBP", "AVIF")
    },
}


@pytest.mark.parametrize("keep_metadata", [False, True])
@pytest.mark.parametrize("form", [OutputFormat.ORIGINAL, OutputFormat.PNG, OutputFormat.AVIF])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ORIENTED)
def test_a_picture_is_turned_once(name: str, orientation: int, form: OutputFormat, keep_metadata: bool) -> None:
    data = ORIENTED[name](orientation)
    [before] = frames(data)

    plain = done(data, format=form, keep_metadata=keep_metadata)
    part = done(data, format=form, keep_metadata=keep_metadata, crop=Crop(0, 0, 70, 50))

    assert (plain.width, plain.height) == before.size
    assert look_alike([before], frames(plain.data)) > 25
    assert look_alike([before.crop((0, 0, 70, 50))], frames(part.data)) > 25


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("icc", [False, True])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_every_mode_with_a_profile_and_without(form: str, mode: str, icc: bool) -> None:
    how = {"icc_profile": SRGB} if icc else {}
    data = bytes_of(in_mode(photo(), mode), form, **({"compress_level": 0} if form == "PNG" else {}), **how)

    result = done(data)

    assert looks_the_same(data, result.data)
    assert told(result.data) == told(data)
