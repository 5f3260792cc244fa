"""Bytes of pictures that somebody has tampered with: refused in a sentence, or compressed by the laws of P9."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.compress import Compressed, ImageLimits, compress, inspect
from gql_imgproc.imaging.options import DEFAULT, Crop, ImageFilter, Options, OutputFormat
from tests.fuzz.images import hostile_pictures, sources
from tests.fuzz.limits import bounded, within

# Pillow says so of broken EXIF, and goes on.
pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data")

#: Just above what the sources have, so that one extreme number or one frame too many is over them.
LIMITS = ImageLimits(max_pixels=100_000, max_total_pixels=100_000, max_frames=60, max_scanned_pixels=2_000_000)
#: What a picture at these limits may take, in KiB; most of it is the codecs' own, when they are first used.
MOST_KIB = 48 << 10
#: CPU of one picture at these limits, in seconds.
MOST_SECONDS = 2
DOCUMENTED = {
    ImageErrorCode.NOT_AN_IMAGE,
    ImageErrorCode.UNSUPPORTED_FORMAT,
    ImageErrorCode.TOO_LARGE,
    ImageErrorCode.CORRUPT,
    ImageErrorCode.OPTIONS_IMPOSSIBLE,
}
FORMS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
CHANGES = st.builds(
    Options,
    scale=st.sampled_from([0.05, 0.5, 1]),
    max_width=st.sampled_from([None, 1, 33]),
    crop=st.sampled_from([None, Crop(1, 0, 2, 2), Crop(30, 20, 500, 500)]),
    filters=st.lists(st.sampled_from(ImageFilter), max_size=2).map(tuple),
    format=st.sampled_from(OutputFormat),
    keep_metadata=st.booleans(),
)


class Memory:
    """The most memory that the process has had since it was last asked, in KiB; always 0 where that is not told."""

    def __init__(self) -> None:
        self.told = sys.platform == "linux"
        try:
            self.reset()
        except OSError:
            self.told = False

    def reset(self) -> None:
        if self.told:
            Path("/proc/self/clear_refs").write_text("5")

    def peak_kib(self) -> int:
        if not self.told:
            return 0
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])


def attempted(data: bytes, options: Options) -> Compressed | None:
    """What becomes of the picture, within time and memory; None when it is refused as documented."""
    memory = Memory()
    before = memory.peak_kib()
    try:
        with within(MOST_SECONDS):
            return compress(data, options, LIMITS)
    except ImageError as failure:
        assert failure.code in DOCUMENTED
        assert not failure.retryable
        assert failure.message.endswith(".")
        assert failure.message.isprintable()
        return None
    finally:
        assert memory.peak_kib() - before < MOST_KIB


#: How far the cuts go that are all tried, in bytes: headers and the first frame's beginning are in them.
CUTS_BYTES = 600


def test_a_picture_that_ends_anywhere_in_its_headers_is_refused_as_documented() -> None:
    told = set()
    for data in sources().values():
        for end in range(min(len(data), CUTS_BYTES)):
            try:
                inspect(data[:end], LIMITS)
            except ImageError as failure:
                told.add(failure.code)

    assert told <= DOCUMENTED
    assert ImageErrorCode.CORRUPT in told


@pytest.mark.parametrize("form", FORMS)
@bounded(150, seconds=10)
@given(data=st.data())
def test_a_tampered_picture_is_refused_or_keeps_the_laws(form: str, data: st.DataObject) -> None:
    # Given a picture that was a good one,
    picture = data.draw(hostile_pictures(form))

    # when it is compressed and not refused,
    once = attempted(picture, DEFAULT)
    if once is None:
        return

    # then it is within the limits, no larger, the same picture, and compressing it again changes nothing.
    header = inspect(picture, LIMITS)
    assert header.width * header.height * header.frames <= LIMITS.max_total_pixels
    assert len(once.data) <= len(picture)
    assert (once.outcome is ImageOutcome.KEPT) == (once.data == picture)
    assert inspect(once.data, LIMITS) == header
    twice = attempted(once.data, DEFAULT)
    assert twice is not None
    assert (twice.outcome, twice.data) == (ImageOutcome.KEPT, once.data)


@pytest.mark.parametrize("form", FORMS)
@bounded(40, seconds=10)
@given(data=st.data(), options=CHANGES)
def test_a_tampered_picture_is_refused_or_remade(form: str, data: st.DataObject, options: Options) -> None:
    once = attempted(data.draw(hostile_pictures(form)), options)

    if once is not None:
        header = inspect(once.data, LIMITS)
        assert (header.width, header.height) == (once.width, once.height)
        assert header.media_type == once.media_type
