"""Options that change the picture: crop, scale, fit, filters, format."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.options import Crop, ImageFilter, OutputFormat
from tests.imaging.corpus.compressing import done
from tests.imaging.corpus.displayed import opened
from tests.imaging.corpus.images import bytes_of, quarters


def near(pixel: Any, colour: tuple[int, ...]) -> bool:
    return all(abs(a - b) < 40 for a, b in zip(pixel, colour, strict=True))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
def test_crop_comes_before_scale_and_fit(name: str) -> None:
    data = bytes_of(quarters(), name)

    result = done(data, crop=Crop(100, 0, 100, 60), scale=0.5, max_height=15)

    after = opened(result.data)
    assert (result.width, result.height, result.outcome) == (25, 15, ImageOutcome.COMPRESSED)
    assert (after.format, after.size) == (name, (25, 15))
    assert near(after.convert("RGB").getpixel((12, 7)), (0, 255, 0))


def test_crop_is_of_the_picture_as_displayed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytes_of(quarters(), "JPEG", exif=exif, quality=95)

    result = done(data, crop=Crop(0, 0, 60, 100))

    after = opened(result.data)
    assert after.size == (result.width, result.height) == (60, 100)
    assert after.getexif().get(0x0112, 1) == 1
    # Turned clockwise, the blue quarter of the lower left comes to the upper left.
    assert near(after.getpixel((30, 50)), (0, 0, 255))


@pytest.mark.parametrize("crop", [Crop(0, 0, 201, 10), Crop(200, 0, 1, 1), Crop(0, 119, 1, 2)])
def test_a_crop_outside_the_picture_is_refused(crop: Crop) -> None:
    with pytest.raises(ImageError) as refused:
        done(bytes_of(quarters(), "PNG"), crop=crop)

    assert refused.value.code is ImageErrorCode.OPTIONS_IMPOSSIBLE
    assert "lies outside the image of 200 x 120 pixels." in refused.value.message
    assert not refused.value.retryable


def test_options_that_change_nothing_leave_a_good_source() -> None:
    data = bytes_of(quarters(), "JPEG", quality=40)

    result = done(data, crop=Crop(0, 0, 200, 120), max_width=200, max_height=500, format=OutputFormat.JPEG)

    assert (result.outcome, result.data) == (ImageOutcome.KEPT, data)


def test_fit_never_enlarges_and_keeps_the_proportions() -> None:
    result = done(bytes_of(quarters(), "JPEG"), max_width=1000, max_height=30)

    assert (result.width, result.height) == (50, 30)


@pytest.mark.parametrize(("width", "half"), [(200, 100), (201, 101)])
def test_half_is_decoded_at_half_and_looks_like_lanczos(width: int, half: int) -> None:
    soft = Image.radial_gradient("L").resize((width, 160))
    data = bytes_of(soft.convert("RGB"), "JPEG", quality=95)

    result = done(data, scale=0.5, quality=95)

    after = opened(result.data)
    assert after.size == (result.width, result.height) == (half, 80)
    lanczos = soft.resize((half, 80), Image.Resampling.LANCZOS).convert("RGB")
    assert max(ImageStat.Stat(ImageChops.difference(after, lanczos)).rms) < 2


@pytest.mark.parametrize("to", [OutputFormat.JPEG, OutputFormat.PNG, OutputFormat.WEBP, OutputFormat.AVIF])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_every_format(mode: str, to: OutputFormat) -> None:
    image = Image.new("I", (40, 30), 65_535).convert("I;16") if mode == "I;16" else quarters(40, 30).convert(mode)
    data = bytes_of(image, "TIFF" if mode == "CMYK" else "PNG")

    result = done(data, format=to)

    after = opened(result.data)
    assert (after.format, after.size) == (to.value, (40, 30))
    assert result.media_type == f"image/{to.value.lower()}"
    assert near(after.convert("RGB").getpixel((35, 25)), (255, 255, 255))


def test_alpha_is_laid_on_white_only_where_there_is_none() -> None:
    clear = quarters().convert("RGBA")
    clear.putalpha(0)
    data = bytes_of(clear, "PNG")

    jpeg, webp = (opened(done(data, format=to).data) for to in (OutputFormat.JPEG, OutputFormat.WEBP))

    assert near(jpeg.getpixel((10, 10)), (255, 255, 255))
    assert webp.getchannel("A").getextrema() == (0, 0)


def test_filters_are_applied_in_their_order_and_leave_alpha() -> None:
    image = quarters().convert("RGBA")
    image.putalpha(128)
    data = bytes_of(image, "PNG")

    result = opened(done(data, filters=(ImageFilter.GRAYSCALE, ImageFilter.BLUR, ImageFilter.AUTOCONTRAST)).data)

    red, green, blue, alpha = result.convert("RGBA").split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()
    assert (red.getextrema(), alpha.getextrema()) == ((0, 255), (128, 128))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("name_of_filter", list(ImageFilter))
def test_every_filter_works_on_every_format(name: str, name_of_filter: ImageFilter) -> None:
    image = quarters() if name == "JPEG" else quarters().convert("RGBA")

    result = done(bytes_of(image, name), filters=(name_of_filter,))

    assert (opened(result.data).format, opened(result.data).size) == (name, (200, 120))


@pytest.mark.parametrize("to", [OutputFormat.ORIGINAL, OutputFormat.PNG, OutputFormat.WEBP, OutputFormat.AVIF])
@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "AVIF"])
def test_every_frame_is_scaled(name: str, to: OutputFormat) -> None:
    first, *rest = [quarters().rotate(90 * n) for n in range(3)]
    durations = [100, 200, 300]
    data = bytes_of(first, name, save_all=True, append_images=rest, duration=durations)

    result = done(data, scale=0.5, format=to)

    after = Image.open(BytesIO(result.data))
    assert (after.n_frames, after.size) == (3, (100, 60))
    told = []
    for n in range(3):
        after.seek(n)
        after.load()
        told.append(after.info["duration"])
    assert told == durations


def test_an_animation_becomes_its_first_frame_where_there_are_none() -> None:
    data = bytes_of(quarters(), "GIF", save_all=True, append_images=[quarters().rotate(180)], duration=100)

    after = opened(done(data, format=OutputFormat.JPEG).data)

    assert near(after.getpixel((10, 10)), (255, 0, 0))


def test_every_page_of_a_tiff_is_scaled() -> None:
    data = bytes_of(quarters(), "TIFF", save_all=True, append_images=[quarters()])

    after = Image.open(BytesIO(done(data, scale=0.5).data))

    assert (after.format, after.n_frames, after.size) == ("TIFF", 2, (100, 60))


def test_a_side_that_the_format_cannot_hold_is_refused() -> None:
    with pytest.raises(ImageError, match="too large for WebP, which allows at most 16,383") as refused:
        done(bytes_of(Image.new("L", (17_000, 1)), "PNG"), format=OutputFormat.WEBP)

    assert refused.value.code is ImageErrorCode.TOO_LARGE
