"""Options that change the pixels or the format: crop, scale, fit, filters, format."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.options import Crop, ImageFilter, OutputFormat
from tests.imaging.corpus.compression import compress_data
from tests.imaging.corpus.displayed import decode
from tests.imaging.corpus.images import encode, quarters


def is_near(pixel: Any, color: tuple[int, ...]) -> bool:
    return all(abs(a - b) < 40 for a, b in zip(pixel, color, strict=True))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
def test_crop_is_applied_before_scale_and_fit(name: str) -> None:
    data = encode(quarters(), name)

    result = compress_data(data, crop=Crop(100, 0, 100, 60), scale=0.5, max_height=15)

    after = decode(result.data)
    assert (result.width, result.height, result.outcome) == (25, 15, ImageOutcome.COMPRESSED)
    assert (after.format, after.size) == (name, (25, 15))
    assert is_near(after.convert("RGB").getpixel((12, 7)), (0, 255, 0))


def test_crop_uses_coordinates_of_the_displayed_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(quarters(), "JPEG", exif=exif, quality=95)

    result = compress_data(data, crop=Crop(0, 0, 60, 100))

    after = decode(result.data)
    assert after.size == (result.width, result.height) == (60, 100)
    assert after.getexif().get(0x0112, 1) == 1
    # A clockwise rotation moves the blue quarter from the lower left to the upper left.
    assert is_near(after.getpixel((30, 50)), (0, 0, 255))


@pytest.mark.parametrize("crop", [Crop(0, 0, 201, 10), Crop(200, 0, 1, 1), Crop(0, 119, 1, 2)])
def test_crop_outside_the_image_is_refused(crop: Crop) -> None:
    with pytest.raises(ImageError) as refused:
        compress_data(encode(quarters(), "PNG"), crop=crop)

    assert refused.value.code is ImageErrorCode.OPTIONS_IMPOSSIBLE
    assert "lies outside the image of 200 x 120 pixels." in refused.value.message
    assert not refused.value.retryable


def test_options_without_effect_keep_the_source() -> None:
    data = encode(quarters(), "JPEG", quality=40)

    result = compress_data(data, crop=Crop(0, 0, 200, 120), max_width=200, max_height=500, format=OutputFormat.JPEG)

    assert (result.outcome, result.data) == (ImageOutcome.KEPT, data)


def test_fit_never_enlarges_and_keeps_the_aspect_ratio() -> None:
    result = compress_data(encode(quarters(), "JPEG"), max_width=1000, max_height=30)

    assert (result.width, result.height) == (50, 30)


@pytest.mark.parametrize(("width", "half"), [(200, 100), (201, 101)])
def test_half_scale_looks_like_lanczos(width: int, half: int) -> None:
    soft = Image.radial_gradient("L").resize((width, 160))
    data = encode(soft.convert("RGB"), "JPEG", quality=95)

    result = compress_data(data, scale=0.5, quality=95)

    after = decode(result.data)
    assert after.size == (result.width, result.height) == (half, 80)
    lanczos = soft.resize((half, 80), Image.Resampling.LANCZOS).convert("RGB")
    assert max(ImageStat.Stat(ImageChops.difference(after, lanczos)).rms) < 2


@pytest.mark.parametrize("to", [OutputFormat.JPEG, OutputFormat.PNG, OutputFormat.WEBP, OutputFormat.AVIF])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_converts_to_every_format(mode: str, to: OutputFormat) -> None:
    image = Image.new("I", (40, 30), 65_535).convert("I;16") if mode == "I;16" else quarters(40, 30).convert(mode)
    data = encode(image, "TIFF" if mode == "CMYK" else "PNG")

    result = compress_data(data, format=to)

    after = decode(result.data)
    assert (after.format, after.size) == (to.value, (40, 30))
    assert result.media_type == f"image/{to.value.lower()}"
    assert is_near(after.convert("RGB").getpixel((35, 25)), (255, 255, 255))


def test_alpha_is_flattened_on_white_only_if_the_target_has_none() -> None:
    transparent = quarters().convert("RGBA")
    transparent.putalpha(0)
    data = encode(transparent, "PNG")

    jpeg, webp = (decode(compress_data(data, format=to).data) for to in (OutputFormat.JPEG, OutputFormat.WEBP))

    assert is_near(jpeg.getpixel((10, 10)), (255, 255, 255))
    assert webp.getchannel("A").getextrema() == (0, 0)


def test_filters_are_applied_in_order_and_leave_alpha_unchanged() -> None:
    image = quarters().convert("RGBA")
    image.putalpha(128)
    data = encode(image, "PNG")

    result = decode(
        compress_data(data, filters=(ImageFilter.GRAYSCALE, ImageFilter.BLUR, ImageFilter.AUTOCONTRAST)).data
    )

    red, green, blue, alpha = result.convert("RGBA").split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()
    assert (red.getextrema(), alpha.getextrema()) == ((0, 255), (128, 128))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("image_filter", list(ImageFilter))
def test_every_filter_works_on_every_format(name: str, image_filter: ImageFilter) -> None:
    image = quarters() if name == "JPEG" else quarters().convert("RGBA")

    result = compress_data(encode(image, name), filters=(image_filter,))

    assert (decode(result.data).format, decode(result.data).size) == (name, (200, 120))


@pytest.mark.parametrize("to", [OutputFormat.ORIGINAL, OutputFormat.PNG, OutputFormat.WEBP, OutputFormat.AVIF])
@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "AVIF"])
def test_every_frame_is_scaled(name: str, to: OutputFormat) -> None:
    first, *rest = [quarters().rotate(90 * n) for n in range(3)]
    durations_ms = [100, 200, 300]
    data = encode(first, name, save_all=True, append_images=rest, duration=durations_ms)

    result = compress_data(data, scale=0.5, format=to)

    after = Image.open(BytesIO(result.data))
    assert (after.n_frames, after.size) == (3, (100, 60))
    after_ms = []
    for n in range(3):
        after.seek(n)
        after.load()
        after_ms.append(after.info["duration"])
    assert after_ms == durations_ms


def test_animation_becomes_its_first_frame_in_a_still_format() -> None:
    data = encode(quarters(), "GIF", save_all=True, append_images=[quarters().rotate(180)], duration=100)

    after = decode(compress_data(data, format=OutputFormat.JPEG).data)

    assert is_near(after.getpixel((10, 10)), (255, 0, 0))


def test_every_page_of_a_tiff_is_scaled() -> None:
    data = encode(quarters(), "TIFF", save_all=True, append_images=[quarters()])

    after = Image.open(BytesIO(compress_data(data, scale=0.5).data))

    assert (after.format, after.n_frames, after.size) == ("TIFF", 2, (100, 60))


def test_side_above_the_maximum_of_the_target_is_refused() -> None:
    with pytest.raises(ImageError, match="too large for WebP, which allows at most 16,383") as refused:
        compress_data(encode(Image.new("L", (17_000, 1)), "PNG"), format=OutputFormat.WEBP)

    assert refused.value.code is ImageErrorCode.TOO_LARGE
