"""The option `fit: COVER`: what exceeds the ratio of the largest sides is cut off, in equal parts at both ends."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.imaging import transform
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.options import Crop, Fit, OptionInvalid, Options, Output, OutputFormat, Pad
from gql_imgproc.imaging.outputs import compress_outputs
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import decode
from tests.imaging.corpus.images import encode, photo

COLORS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]


def stripes() -> Image.Image:
    """Four stripes of 100 x 200 pixels, next to each other."""
    image = Image.new("RGB", (400, 200))
    for n, color in enumerate(COLORS):
        image.paste(color, (100 * n, 0, 100 * n + 100, 200))
    return image


def png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def cover(data: bytes, width: int, height: int, **options: Any) -> tuple[tuple[int, int], Image.Image]:
    result = compress_data(data, max_width=width, max_height=height, fit=Fit.COVER, **options)
    image = decode(result.data).convert("RGB")
    assert image.size == (result.width, result.height)
    return image.size, image


def test_cover_keeps_the_middle() -> None:
    # When a square is cut out of four stripes, then its halves are the two in the middle.
    size, image = cover(png(stripes()), 50, 50)

    assert size == (50, 50)
    assert [image.getpixel((x, 25)) for x in (0, 20, 30, 49)] == [COLORS[1], COLORS[1], COLORS[2], COLORS[2]]


@pytest.mark.parametrize(
    ("largest", "options", "size"),
    [
        ((100, 25), {}, (100, 25)),
        ((100, 50), {}, (100, 50)),
        # Never enlarged, but of the wanted ratio:
        ((1000, 1000), {}, (200, 200)),
        ((300, 100), {}, (300, 100)),
        ((300, 250), {}, (240, 200)),
        # after the crop, and after it is scaled.
        ((30, 30), {"crop": Crop(0, 0, 100, 40)}, (30, 30)),
        ((70, 70), {"scale": 0.25}, (50, 50)),
    ],
)
def test_cover_has_the_ratio_of_the_largest_sides(
    largest: tuple[int, int], options: dict[str, Any], size: tuple[int, int]
) -> None:
    assert cover(png(stripes()), *largest, **options)[0] == size


def test_cover_cuts_the_image_as_displayed() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(stripes(), "JPEG", quality=95, exif=exif)

    # Given a photograph that is shown upright, 200 x 400, when its upper and lower stripe are cut off,
    size, image = cover(data, 200, 200)

    assert size == (200, 200)
    assert [max(range(3), key=lambda band, y=y: image.getpixel((100, y))[band]) for y in (20, 180)] == [1, 2]


def test_cover_changes_nothing_a_second_time() -> None:
    first = compress_data(encode(photo(), "JPEG"), max_width=33, max_height=47, fit=Fit.COVER)

    second = compress_data(first.data, max_width=33, max_height=47, fit=Fit.COVER)

    assert ((first.width, first.height), first.outcome) == ((33, 47), COMPRESSED)
    assert (second.outcome, second.data) == (KEPT, first.data)


@pytest.mark.parametrize("largest", [(1, 1), (3, 2), (1, 10), (99, 100), (300, 7)])
def test_size_of_a_result_is_final(largest: tuple[int, int]) -> None:
    options = Options(max_width=largest[0], max_height=largest[1], fit=Fit.COVER)
    for width in range(1, 130, 3):
        for height in range(1, 130, 2):
            size = transform.make_plan(options, (width, height)).target
            assert not transform.make_plan(options, size).changes_pixels, (width, height)
            assert size[0] <= min(width, largest[0])
            assert size[1] <= min(height, largest[1])
            if width >= largest[0] and height >= largest[1]:
                assert size == largest


def test_outputs_differ_in_fit() -> None:
    options = Options(
        max_width=100,
        max_height=100,
        outputs=(Output("large"), Output("square", OutputFormat.WEBP, fit=Fit.COVER)),
    )

    results = compress_outputs(png(stripes()), dict(options.of_outputs()), ImageLimits())

    assert [(each.width, each.height) for each in results] == [(100, 50), (100, 100)]
    assert results[1].outcome is ImageOutcome.COMPRESSED
    assert Options.from_json(options.to_json()) == options


@pytest.mark.parametrize(
    "options", [{"max_width": 10}, {"max_height": 10}, {}, {"max_width": 9, "max_height": 9, "pad": Pad("1:1")}]
)
def test_cover_needs_both_sides_and_no_canvas(options: dict[str, Any]) -> None:
    with pytest.raises(
        OptionInvalid, match="fit: must be INSIDE unless there are a largest width and height, and no pad"
    ):
        Options(fit=Fit.COVER, **options)
