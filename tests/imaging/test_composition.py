"""Frames are composed as Chromium 156 composes them: what no frame covers, and what a frame clears, is transparent."""

from __future__ import annotations

import struct
import zlib

import pytest

from gql_imgproc.imaging.codecs import gif as gif_codec
from gql_imgproc.imaging.codecs import png_frames
from gql_imgproc.imaging.codecs.png_chunks import read, write
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.options import Crop, OutputFormat
from gql_imgproc.imaging.probe import open_image
from tests.imaging.corpus import gif
from tests.imaging.corpus.compression import compress_data
from tests.imaging.corpus.displayed import decode, frames

Color = tuple[int, int, int, int]
SIZE, PART = (60, 40), (10, 8, 40, 30)
#: Outside the part, and the colour that the corpus paints there and inside.
OUTSIDE, INSIDE = (50, 35), (10, 8)
CLEAR = (0, 0, 0, 0)


def pixels_of(data: bytes, at: tuple[int, int]) -> list[Color]:
    source = open_image(data, ImageLimits())
    codec = gif_codec if data.startswith(b"GIF8") else png_frames
    return [frame.getpixel(at) for frame in codec.read_frames(source) or ()]


def apng(*frames: tuple[tuple[int, int, int, int], Color, int, int], default: Color | None = None) -> bytes:
    """Frames of one colour: rectangle, colour, disposal, blending."""

    def pixels(width: int, height: int, color: Color) -> bytes:
        return zlib.compress((b"\0" + bytes(color) * width) * height)

    chunks = [(b"IHDR", struct.pack(">IIBBBBB", *SIZE, 8, 6, 0, 0, 0)), (b"acTL", struct.pack(">II", len(frames), 0))]
    if default:
        chunks.append((b"IDAT", pixels(*SIZE, default)))
    sequence = 0
    for number, ((left, top, right, bottom), color, dispose, blend) in enumerate(frames):
        size = right - left, bottom - top
        control = struct.pack(">5IHHBB", sequence, *size, left, top, 10, 100, dispose, blend)
        sequence += 1
        chunks.append((b"fcTL", control))
        if number or default:
            chunks.append((b"fdAT", struct.pack(">I", sequence) + pixels(*size, color)))
            sequence += 1
        else:
            chunks.append((b"IDAT", pixels(*size, color)))
    return write([*chunks, (b"IEND", b"")])


ALL = (0, 0, *SIZE)
RED, BLUE, GREEN = (255, 0, 0, 255), (0, 0, 255, 255), (0, 255, 0, 255)
HALF_RED, QUARTER_BLUE = (255, 0, 0, 128), (0, 0, 255, 64)


def test_what_the_first_frame_of_a_gif_leaves_uncovered_is_transparent() -> None:
    data = gif.gif(gif.Frame(box=PART))

    png = compress_data(data, format=OutputFormat.PNG).data
    jpeg = compress_data(data, format=OutputFormat.JPEG, quality=95).data

    assert decode(png).convert("RGBA").getpixel(OUTSIDE) == CLEAR
    assert decode(png).convert("RGBA").getpixel(INSIDE)[3] == 255
    assert min(decode(jpeg).getpixel(OUTSIDE)) > 240


@pytest.mark.parametrize(("disposal", "box"), [(1, PART), (2, PART), (2, ALL)])
def test_what_opaque_frames_leave_uncovered_stays_transparent_in_webp(
    disposal: int, box: tuple[int, int, int, int]
) -> None:
    # Given an animation of frames without alpha, and a file of another encoder, which does not state it,
    corner = (0, 0, 4, 4)
    frames_of_gif = [gif.Frame(box=box, disposal=disposal), *(gif.Frame(box=corner, shift=9 * n) for n in (1, 2))]
    data = gif.gif(*frames_of_gif, loop=0)
    webp = compress_data(data, format=OutputFormat.WEBP).data
    other = webp[:20] + bytes((webp[20] & ~0x10,)) + webp[21:]

    # when they are read, and converted again,
    as_png = compress_data(other, format=OutputFormat.PNG).data

    # then these pixels are transparent.
    expected = [color[3] for color in pixels_of(data, OUTSIDE)]
    assert 0 in expected
    assert [frame.getpixel(OUTSIDE)[3] for frame in frames(webp)] == expected
    assert [color[3] for color in pixels_of(as_png, OUTSIDE)] == expected


@pytest.mark.parametrize("transparent", [None, 63])
@pytest.mark.parametrize(
    ("disposal", "alphas"),
    [(0, [255, 255]), (1, [255, 255]), (2, [255, 0]), (3, [255, 255])],
)
def test_gif_disposal(disposal: int, alphas: list[int], transparent: int | None) -> None:
    corner = (59, 39, 60, 40)
    data = gif.gif(
        gif.Frame(),
        gif.Frame(box=PART, disposal=disposal, transparent=transparent, shift=20),
        gif.Frame(box=corner, shift=4),
    )

    inside = pixels_of(data, INSIDE)

    assert [color[3] for color in inside[1:]] == alphas
    assert (inside[2] == inside[0]) is (disposal == 3)
    assert [color[3] for color in pixels_of(data, OUTSIDE)] == [255] * 3


def test_first_frame_of_a_gif_that_is_restored_leaves_nothing() -> None:
    data = gif.gif(gif.Frame(box=(0, 0, 30, 20), disposal=3), gif.Frame(box=PART))

    assert [color[3] for color in pixels_of(data, (0, 0))] == [255, 0]


def test_gif_frame_outside_the_canvas_is_cut_off() -> None:
    data = gif.gif(gif.Frame(), gif.Frame(box=(50, 30, 110, 70), shift=20))

    frames = list(gif_codec.read_frames(open_image(data, ImageLimits())))

    assert [frame.size for frame in frames] == [SIZE, SIZE]
    assert frames[0].getpixel((49, 29)) == frames[1].getpixel((49, 29))
    assert frames[0].getpixel((59, 39)) != frames[1].getpixel((59, 39))


@pytest.mark.parametrize(
    ("frames", "inside"),
    [
        ([(ALL, HALF_RED, 0, 0), (ALL, HALF_RED, 0, 1)], [HALF_RED, (255, 0, 0, 192)]),
        ([(ALL, HALF_RED, 0, 0), (PART, QUARTER_BLUE, 0, 1)], [HALF_RED, (153, 0, 102, 160)]),
        ([(ALL, HALF_RED, 0, 0), (PART, QUARTER_BLUE, 0, 0)], [HALF_RED, QUARTER_BLUE]),
        ([(ALL, RED, 1, 0), (PART, QUARTER_BLUE, 0, 1)], [RED, QUARTER_BLUE]),
        ([(ALL, RED, 0, 0), (PART, QUARTER_BLUE, 0, 1)], [RED, (191, 0, 64, 255)]),
        ([(ALL, RED, 2, 0), (PART, QUARTER_BLUE, 0, 1)], [RED, QUARTER_BLUE]),
        ([(ALL, RED, 0, 0), (PART, BLUE, 2, 1), ((0, 0, 1, 1), GREEN, 0, 0)], [RED, BLUE, RED]),
    ],
    ids=["over itself", "over", "replaced", "cleared", "over opaque", "restored at first", "restored"],
)
def test_apng_frames_are_composed_with_alpha(
    frames: list[tuple[tuple[int, int, int, int], Color, int, int]], inside: list[Color]
) -> None:
    data = apng(*frames)

    cropped = compress_data(data, crop=Crop(0, 0, 60, 39)).data

    for result in (data, cropped):
        shown = pixels_of(result, INSIDE)
        assert len(shown) == len(inside)
        assert all(
            abs(a - b) <= 1 for one, other in zip(shown, inside, strict=True) for a, b in zip(one, other, strict=True)
        )


def test_still_format_gets_the_first_frame_and_not_the_default_image() -> None:
    data = apng((ALL, BLUE, 0, 0), (PART, GREEN, 0, 1), default=RED)

    jpeg = decode(compress_data(data, format=OutputFormat.JPEG).data)
    single = decode(compress_data(apng((ALL, BLUE, 0, 0), default=RED), format=OutputFormat.JPEG).data)

    assert all(image.getpixel((5, 5))[2] > 240 > 15 > image.getpixel((5, 5))[0] for image in (jpeg, single))


def test_damaged_later_frame_is_corrupt_when_frames_are_composed() -> None:
    chunks = read(apng((ALL, RED, 0, 0), (PART, BLUE, 0, 1)))
    damaged = write([(kind, body[:20] if kind == b"fdAT" else body) for kind, body in chunks])

    with pytest.raises(Exception, match="damaged or incomplete"):
        compress_data(damaged, scale=0.5)
