"""Damaged images are refused with a message, or compressed according to promise P9."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.compress import Compressed, ImageLimits, compress, inspect
from gql_imgproc.imaging.options import DEFAULT, Crop, ImageFilter, Options, OutputFormat, Pad
from tests.fuzz.images import hostile_images, sources
from tests.fuzz.limits import cpu_limit, fuzz_settings

# Pillow warns about broken EXIF and continues.
pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data")

#: Just above the values of the sources, so that one extreme number or one more frame exceeds them.
LIMITS = ImageLimits(max_pixels=100_000, max_total_pixels=100_000, max_frames=60, max_scanned_pixels=2_000_000)
#: Memory for an image within these limits. Most of it belongs to the codecs, which allocate it at their first use.
MAX_KIB = 48 << 10
#: CPU time of one image within these limits.
MAX_CPU_SECONDS = 2
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
    trim=st.booleans(),
    pad=st.sampled_from([None, None, Pad(ratio="2:1"), Pad(width=40, color="#F00000")]),
    filters=st.lists(st.sampled_from(ImageFilter), max_size=2).map(tuple),
    format=st.sampled_from(OutputFormat),
    keep_metadata=st.booleans(),
)


class Memory:
    """Peak memory of the process since the last reset, in KiB; always 0 where it is unknown."""

    def __init__(self) -> None:
        self.is_known = sys.platform == "linux"
        try:
            self.reset()
        except OSError:
            self.is_known = False

    def reset(self) -> None:
        if self.is_known:
            Path("/proc/self/clear_refs").write_text("5")

    def peak_kib(self) -> int:
        if not self.is_known:
            return 0
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])


def compress_within_limits(data: bytes, options: Options) -> Compressed | None:
    """None if the image is refused as documented. Fails if it takes too much time or memory."""
    memory = Memory()
    before = memory.peak_kib()
    try:
        with cpu_limit(MAX_CPU_SECONDS):
            return compress(data, options, LIMITS)
    except ImageError as failure:
        assert failure.code in DOCUMENTED
        assert not failure.retryable
        assert failure.message.endswith(".")
        assert failure.message.isprintable()
        return None
    finally:
        assert memory.peak_kib() - before < MAX_KIB


#: Every length below this is tried. It includes the headers and the start of the first frame.
TRUNCATED_BYTES = 600


def test_image_truncated_in_its_headers_is_refused_as_documented() -> None:
    codes = set()
    for data in sources().values():
        for end in range(min(len(data), TRUNCATED_BYTES)):
            try:
                inspect(data[:end], LIMITS)
            except ImageError as failure:
                codes.add(failure.code)

    assert codes <= DOCUMENTED
    assert ImageErrorCode.CORRUPT in codes


@pytest.mark.parametrize("form", FORMS)
@fuzz_settings(150, seconds=10)
@given(data=st.data())
def test_damaged_image_is_refused_or_compressed_as_promised(form: str, data: st.DataObject) -> None:
    # Given a damaged image,
    image = data.draw(hostile_images(form))

    # when it is compressed and not refused,
    once = compress_within_limits(image, DEFAULT)
    if once is None:
        return

    # then it is within the limits, not larger, the same image, and compressing it again changes nothing.
    header = inspect(image, LIMITS)
    assert header.width * header.height * header.frames <= LIMITS.max_total_pixels
    assert len(once.data) <= len(image)
    assert (once.outcome is ImageOutcome.KEPT) == (once.data == image)
    assert inspect(once.data, LIMITS) == header
    twice = compress_within_limits(once.data, DEFAULT)
    assert twice is not None
    assert (twice.outcome, twice.data) == (ImageOutcome.KEPT, once.data)


@pytest.mark.parametrize("form", FORMS)
@fuzz_settings(40, seconds=10)
@given(data=st.data(), options=CHANGES)
def test_damaged_image_is_refused_or_changed(form: str, data: st.DataObject, options: Options) -> None:
    once = compress_within_limits(data.draw(hostile_images(form)), options)

    if once is not None:
        header = inspect(once.data, LIMITS)
        assert (header.width, header.height) == (once.width, once.height)
        assert header.media_type == once.media_type
