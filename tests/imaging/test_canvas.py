"""The options `trim` and `pad`: exact pixels of the border that is removed and of the canvas that is added."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageDraw

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.options import Crop, OptionInvalid, Options, OutputFormat, Pad
from tests.imaging.corpus.compression import KEPT, compress_data
from tests.imaging.corpus.displayed import decode
from tests.imaging.corpus.images import encode, photo, quarters

RED, WHITE, CLEAR = (255, 0, 0), (255, 255, 255), (0, 0, 0, 0)


def box(border: Any, mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A red rectangle of 20 x 10 pixels at (12, 5) with a border of one colour."""
    image = Image.new(mode, size, border)
    image.paste(Image.new("RGB", (20, 10), RED).convert(mode), (12, 5))
    return image


def png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def pixels(data: bytes, mode: str) -> Image.Image:
    return decode(data).convert(mode)


@pytest.mark.parametrize("border", [WHITE, (0, 0, 0), (12, 200, 90)])
def test_trim_removes_exactly_the_border(border: tuple[int, ...]) -> None:
    result = compress_data(png(box(border)), trim=True)

    assert (result.width, result.height) == (20, 10)
    assert pixels(result.data, "RGB").tobytes() == Image.new("RGB", (20, 10), RED).tobytes()


def test_trim_tolerates_ten_levels_and_no_more() -> None:
    image = box(WHITE)
    image.putpixel((3, 3), (245, 255, 250))
    assert compress_data(png(image), trim=True).width == 20

    image.putpixel((3, 3), (244, 255, 255))
    result = compress_data(png(image), trim=True)
    assert (result.width, result.height) == (29, 12)
    assert pixels(result.data, "RGB").getpixel((0, 0)) == (244, 255, 255)


def test_trim_removes_what_is_transparent_whatever_its_colours() -> None:
    image = box(CLEAR, "RGBA")
    image.putpixel((39, 29), (90, 10, 200, 10))

    result = compress_data(png(image), trim=True)

    assert pixels(result.data, "RGBA").tobytes() == Image.new("RGBA", (20, 10), (*RED, 255)).tobytes()


def test_trim_keeps_an_image_of_one_colour_and_one_without_a_border() -> None:
    plain, full = encode(Image.new("RGB", (30, 20), WHITE), "JPEG", quality=30), encode(photo(), "JPEG", quality=30)

    for data in (plain, full):
        result = compress_data(data, trim=True)
        assert (result.outcome, result.data) == (KEPT, compress_data(data).data)


def test_trim_finds_the_border_within_the_crop_of_the_displayed_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(box(WHITE, size=(40, 40)), "PNG", exif=exif)

    # Rotated clockwise, the rectangle is 10 pixels wide and begins at (25, 12).
    result = compress_data(data, crop=Crop(20, 5, 20, 20), trim=True)

    assert (result.width, result.height) == (10, 13)


def test_animation_is_trimmed_to_what_its_frames_have_in_common() -> None:
    frames = [Image.new("RGB", (40, 30), WHITE) for _ in range(3)]
    for n, frame in enumerate(frames):
        ImageDraw.Draw(frame).rectangle((5 + 4 * n, 10, 8 + 4 * n, 12), fill=RED)
    for form in ("GIF", "WEBP", "PNG"):
        data = encode(frames[0], form, save_all=True, append_images=frames[1:], duration=100, lossless=True)

        result = compress_data(data, trim=True, pad=Pad(ratio="1:1", color="#0000FF"))

        after = decode(result.data)
        assert (after.size, getattr(after, "n_frames", 1)) == ((12, 12), 3)
        for n in range(3):
            after.seek(n)
            shown = after.convert("RGB")
            assert shown.getpixel((0, 0)) == shown.getpixel((11, 11)) == (0, 0, 255)
            assert [shown.getpixel((x, 4)) for x in (4 * n, 4 * n + 3)] == [RED, RED]
            assert shown.getpixel(((4 * n + 6) % 12, 4)) == WHITE


def test_each_page_of_a_tiff_is_trimmed_on_its_own() -> None:
    pages = [box(WHITE), box(WHITE, size=(60, 50))]
    pages[1].putpixel((50, 5), (0, 0, 0))

    after = decode(compress_data(encode(pages[0], "TIFF", save_all=True, append_images=pages[1:]), trim=True).data)

    assert after.size == (20, 10)
    after.seek(1)
    assert after.size == (39, 10)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGB", None, (255, 255, 255, 255)),
        ("RGB", "#102030", (16, 32, 48, 255)),
        ("L", None, (255, 255, 255, 255)),
        ("L", "#808080", (128, 128, 128, 255)),
        ("L", "#102030", (16, 32, 48, 255)),
        ("I;16", "#808080", (128, 128, 128, 255)),
        ("P", "#102030", (16, 32, 48, 255)),
        ("1", None, (255, 255, 255, 255)),
        ("RGBA", None, CLEAR),
        ("LA", None, CLEAR),
        ("RGBA", "#102030", (16, 32, 48, 255)),
    ],
)
def test_pad_adds_a_canvas_and_leaves_the_image(mode: str, color: str | None, expected: tuple[int, ...]) -> None:
    image = Image.new(mode, (20, 10))
    if mode in ("RGBA", "LA"):
        image.putalpha(255)

    result = compress_data(png(image), pad=Pad(ratio="1:1", color=color))

    after = decode(result.data)
    assert (result.width, result.height) == after.size == (20, 20)
    depth = after.mode
    after = after.point(lambda level: level / 257).convert("L") if depth == "I;16" else after
    after = after.convert("RGBA")
    assert (depth == "I;16") is (mode == "I;16")
    rows = [[after.getpixel((x, y)) for x in range(20)] for y in range(20)]
    assert rows[:5] == rows[15:] == [[expected] * 20] * 5
    assert rows[5:15] == [[(0, 0, 0, 255)] * 20] * 10


@pytest.mark.parametrize(
    ("size", "pad", "canvas"),
    [
        ((300, 200), Pad(ratio="1:1"), (300, 300)),
        ((300, 200), Pad(ratio="3:2"), (300, 200)),
        ((200, 300), Pad(ratio="16:9"), (533, 300)),
        ((300, 200), Pad(width=500), (500, 200)),
        ((300, 200), Pad(width=100, height=250), (300, 250)),
        ((300, 200), Pad(width=600, height=200, ratio="2:1"), (600, 300)),
        ((1, 1), Pad(ratio="1:3"), (1, 3)),
    ],
)
def test_canvas_is_the_smallest_one(size: tuple[int, int], pad: Pad, canvas: tuple[int, int]) -> None:
    assert pad.canvas(*size) == canvas


def test_padded_image_is_not_padded_again() -> None:
    for width in range(1, 120):
        for ratio in ("1:1", "4:3", "1:3", "16:9", "99:7"):
            canvas = Pad(ratio=ratio).canvas(width, 101)

            assert Pad(ratio=ratio).canvas(*canvas) == canvas

    data = encode(quarters(), "JPEG", quality=90)
    once = compress_data(data, pad=Pad(ratio="1:1", color="#FFFFFF"))
    twice = compress_data(once.data, pad=Pad(ratio="1:1", color="#FFFFFF"))
    assert (twice.outcome, twice.data) == (KEPT, once.data)


def test_colour_is_behind_a_cut_out_that_has_the_ratio_already() -> None:
    result = compress_data(png(box(CLEAR, "RGBA", (30, 30))), pad=Pad(ratio="1:1", color="#00FF00"))

    after = pixels(result.data, "RGBA")
    assert after.getpixel((0, 0)) == (0, 255, 0, 255)
    assert after.getpixel((15, 10)) == (*RED, 255)


def test_cmyk_gets_white_without_ink() -> None:
    data = encode(Image.new("CMYK", (40, 20), (0, 200, 100, 0)), "JPEG", quality=95)

    after = decode(compress_data(data, pad=Pad(ratio="1:1"), quality=95).data)

    assert (after.mode, after.size) == ("CMYK", (40, 40))
    assert after.getpixel((0, 0)) == (0, 0, 0, 0)


def test_image_is_trimmed_padded_and_scaled_in_this_order() -> None:
    data = png(box(WHITE, size=(400, 300)))

    result = compress_data(data, trim=True, pad=Pad(ratio="1:1", color="#0000FF"), max_width=10)

    after = pixels(result.data, "RGB")
    assert after.size == (10, 10)
    colors = [after.getpixel((5, y)) for y in range(10)]
    assert colors == [(0, 0, 255)] * 2 + [RED] * 5 + [(0, 0, 255)] * 3


def test_padded_jpeg_is_decoded_at_a_reduced_size_like_any_other() -> None:
    data = encode(quarters(800, 400), "JPEG", quality=95)

    result = compress_data(data, pad=Pad(ratio="1:1", color="#000000"), max_width=100, format=OutputFormat.PNG)

    after = pixels(result.data, "RGB")
    assert after.size == (100, 100)
    assert [after.getpixel((50, y)) for y in (24, 75)] == [(0, 0, 0)] * 2
    assert after.getpixel((10, 25))[0] > 240  # type: ignore[index]  # RGB has channels


def test_canvas_beyond_the_limits_is_refused() -> None:
    for pad in (Pad(ratio="1:10000"), Pad(width=60_000, height=60_000)):
        with pytest.raises(ImageError) as refused:
            compress_data(encode(quarters(), "JPEG"), pad=pad)

        assert refused.value.code is ImageErrorCode.OPTIONS_IMPOSSIBLE
        assert "is too large. Choose another ratio or size, or scale it down." in refused.value.message
    # Scaled, it is within them.
    assert compress_data(encode(quarters(), "JPEG"), pad=Pad(ratio="1:1000"), max_height=500).height == 500


def test_options_are_checked_and_stored() -> None:
    options = Options(trim=True, pad=Pad(ratio="4:3", width=100, color="#FF00aa"))

    assert Options.from_json(options.to_json()) == options
    assert options.fingerprint != Options(trim=True, pad=Pad(ratio="4:3", width=100)).fingerprint
    refused: list[dict[str, Any]] = [{}, {"ratio": "0:1"}, {"ratio": "1"}, {"width": 0}, {"height": 65_501}]
    for values in (*refused, {"width": 1, "color": "red"}):
        with pytest.raises(OptionInvalid, match="pad: "):
            Pad(**values)
