"""Drafts: a JPEG is decoded at a reduced size before it is scaled, without shifting the image."""

from __future__ import annotations

from io import BytesIO
from itertools import product

import pytest
from PIL import Image, ImageChops, ImageStat

from gql_imgproc.imaging import transform
from gql_imgproc.imaging.options import Options


def jpeg(image: Image.Image, orientation: int = 1) -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = BytesIO()
    image.save(file, "JPEG", quality=95, subsampling=0, exif=exif)
    return Image.open(file)


@pytest.mark.parametrize(
    ("size", "options", "drafted"),
    [
        ((200, 160), Options(scale=0.5), (100, 80)),
        ((201, 161), Options(scale=0.5), (101, 81)),
        ((201, 161), Options(scale=0.49), (101, 81)),
        ((201, 161), Options(scale=0.25), (51, 41)),
        ((201, 161), Options(scale=0.1), (26, 21)),
        ((201, 161), Options(max_width=101), (101, 81)),
        ((201, 161), Options(max_width=102), (201, 161)),
        ((1001, 3), Options(scale=0.1), (501, 2)),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_draft_is_the_smallest_size_that_covers_the_target(
    size: tuple[int, int], options: Options, drafted: tuple[int, int], orientation: int
) -> None:
    image = jpeg(Image.new("RGB", size))
    plan = transform.make_plan(options, size if orientation == 1 else size[::-1])
    if orientation != 1 and options.max_width:
        plan = transform.make_plan(Options(max_height=options.max_width), size[::-1])

    transform.draft_size(image, plan, orientation)
    image.load()

    assert image.size == drafted


def test_draft_is_never_smaller_than_the_target() -> None:
    for width, height, scale in product(range(1, 34), (1, 7, 16, 33), (0.05, 0.12, 0.13, 0.25, 0.3, 0.5, 0.6)):
        image = jpeg(Image.new("L", (width, height)))
        plan = transform.make_plan(Options(scale=scale), image.size)

        transform.draft_size(image, plan, 1)

        assert image.width >= plan.target[0]
        assert image.height >= plan.target[1]
        assert transform.apply_geometry(image, plan, 1).size == plan.target


@pytest.mark.parametrize("orientation", range(1, 9))
def test_partly_covered_last_column_does_not_shift_the_image(orientation: int) -> None:
    # 65 columns at 1/8 are 9, of which the last one is covered to an eighth.
    slope = Image.linear_gradient("L").rotate(90).resize((65, 65), Image.Resampling.BICUBIC)
    slope = ImageChops.add(slope, Image.linear_gradient("L").resize((65, 65), Image.Resampling.BICUBIC), scale=2)
    whole, drafted = jpeg(slope, orientation), jpeg(slope, orientation)
    plan = transform.make_plan(Options(max_width=6), whole.size)
    expected = transform.apply_geometry(whole, plan, orientation)

    transform.draft_size(drafted, plan, orientation)
    scaled = transform.apply_geometry(drafted, plan, orientation)

    assert drafted.size == (9, 9)
    assert scaled.size == expected.size == (6, 6)
    assert ImageStat.Stat(ImageChops.difference(scaled, expected)).extrema[0][1] <= 3
