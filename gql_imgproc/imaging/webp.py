"""WebP: how coarse its VP8 streams are quantised, and a new file of a wanted quality."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image

from gql_imgproc.imaging import structure
from gql_imgproc.imaging.errors import decode_errors
from gql_imgproc.imaging.metadata import Extras, extras_of, save
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.probe import load
from gql_imgproc.imaging.quality_mapping import webp_quality

#: libwebp's speed against size; 2 halves the CPU of its default for 6 % more bytes.
_METHOD = 2


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """One file of the wanted quality; none when the source is lossless or no better than that."""
    image, anatomy = source.image, source.anatomy
    load(image)
    if anatomy.lossless or is_already_at_quality(anatomy.streams, options.quality):
        return
    extras = extras_of(image, anatomy.orientation, options.keep_metadata)
    if not anatomy.durations_ms:
        yield encode(image, options.quality, extras)
        return
    with decode_errors():
        durations = list(anatomy.durations_ms)
        made = encode_animation([image], durations, anatomy.plays, options.quality, extras)
    # The encoder joins frames that look alike; then the source is the more faithful one.
    again = structure.webp(made, anatomy.frames)
    if again.durations_ms == anatomy.durations_ms and again.plays == anatomy.plays:
        yield made


def is_already_at_quality(streams: tuple[memoryview, ...], quality: int) -> bool:
    """Whether every VP8 stream is quantised as coarsely as the quality asks, or more so.

    An encoder may quantise up to four segments differently, around the wanted step; the coarsest one is
    taken, so that our own output is always recognised.
    """
    wanted = quantiser_of(quality)
    return bool(streams) and all(coarsest_quantiser(s) >= wanted for s in streams)


def quantiser_of(quality: int) -> int:
    """libwebp's quantiser index (0-127) for one of our qualities."""
    c = webp_quality(quality) / 100
    linear = c * (2 / 3) if c < 0.75 else 2 * c - 1
    return int(127 * (1 - linear ** (1 / 3)))


def coarsest_quantiser(stream: memoryview) -> int:
    """The coarsest quantiser index of a VP8 key frame (RFC 6386, section 9.2 to 9.6); -1 when unreadable."""
    if len(stream) < 12 or stream[0] & 1 or bytes(stream[3:6]) != b"\x9d\x01\x2a":
        return -1
    bits = _BoolReader(stream[10:])
    bits.number(2)  # colour space, clamping
    absolute, segments = False, [0]
    if bits.number(1):
        map_follows = bits.number(1)
        if bits.number(1):
            absolute = bool(bits.number(1))
            segments = [bits.optional(7) for _ in range(4)]
            for _ in range(4):
                bits.optional(6)
        if map_follows:
            for _ in range(3):
                if bits.number(1):
                    bits.number(8)
    bits.number(10)  # loop filter: type, level, sharpness
    if bits.number(1) and bits.number(1):
        for _ in range(8):
            bits.optional(6)
    bits.number(2)  # number of partitions
    base = bits.number(7)
    return max(s if absolute else base + s for s in segments)


class _BoolReader:
    """The arithmetic decoder of VP8 with even odds, which is how its header is written."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 2
        self._value, self._range, self._bits = int.from_bytes(data[:2], "big"), 255, 0

    def number(self, bits: int) -> int:
        out = 0
        for _ in range(bits):
            out = out * 2 + self._bit()
        return out

    def optional(self, bits: int) -> int:
        """A signed number behind a flag; 0 without it."""
        if not self._bit():
            return 0
        size = self.number(bits)
        return -size if self._bit() else size

    def _bit(self) -> int:
        split = 1 + ((self._range - 1) * 128 >> 8)
        if self._value >= split << 8:
            self._range -= split
            self._value -= split << 8
            bit = 1
        else:
            self._range = split
            bit = 0
        while self._range < 128:
            self._value <<= 1
            self._range <<= 1
            self._bits += 1
            if self._bits == 8:
                self._bits = 0
                if self._at < len(self._data):
                    self._value |= self._data[self._at]
                self._at += 1
        return bit


def encode(image: Image.Image, quality: int, extras: Extras, lossless: bool = False) -> bytes:
    return save(
        _fit_for_webp(image),
        "WEBP",
        lossless=lossless,
        # For a lossless file quality is effort.
        quality=50 if lossless else webp_quality(quality),
        method=_METHOD,
        icc_profile=extras.icc,
        exif=extras.exif,
        xmp=extras.xmp,
    )


def encode_animation(
    frames: list[Image.Image],
    durations_ms: list[int],
    plays: int,
    quality: int,
    extras: Extras,
    lossless: bool = False,
) -> bytes:
    """`frames` is one animated picture, or the pictures one by one."""
    first, *rest = frames
    # A GIF's background is an index into its palette, and means nothing here.
    background = first.info.get("background")
    return save(
        first,
        "WEBP",
        save_all=True,
        append_images=rest,
        duration=durations_ms,
        loop=plays,
        background=background if isinstance(background, tuple) else (0, 0, 0, 0),
        lossless=lossless,
        quality=50 if lossless else webp_quality(quality),
        method=_METHOD,
        icc_profile=extras.icc,
        exif=extras.exif.removeprefix(b"Exif\0\0"),
        xmp=extras.xmp,
    )


def _fit_for_webp(image: Image.Image) -> Image.Image:
    return image if image.mode in ("RGB", "RGBA") else image.convert("RGBA" if _alpha(image) else "RGB")


def _alpha(image: Image.Image) -> bool:
    return bool(image.has_transparency_data)
