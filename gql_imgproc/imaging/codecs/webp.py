"""WebP: reads how coarsely the VP8 streams are quantized, and re-encodes at the wanted quality."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO

from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from gql_imgproc.imaging.encode import EncodeSettings, save
from gql_imgproc.imaging.errors import corrupt_image, decode_errors, too_large
from gql_imgproc.imaging.exif import read_orientation
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.metadata import collect_extras
from gql_imgproc.imaging.opened_image import OpenedImage, load
from gql_imgproc.imaging.options import Effort, Metadata, Options
from gql_imgproc.imaging.quality_mapping import webp_quality
from gql_imgproc.imaging.structure import MAX_PARTS, ImageStructure

#: libwebp's trade of speed against size. 2 halves the CPU time of the default for 6 % more bytes.
_METHODS = {Effort.FAST: 0, Effort.BALANCED: 2, Effort.SMALL: 6}
#: Flags of VP8X.
_HAS_ICC, _HAS_ALPHA, _HAS_EXIF, _HAS_XMP = 0x20, 0x10, 0x08, 0x04
#: Flag of a frame: its rectangle is cleared after it.
_CLEARS = 0x01
#: The chunk of `floor_mark`. Readers ignore unknown chunks.
_FLOOR_MARK = b"GQIf"


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    if len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise corrupt_image("The WebP is incomplete: bytes are missing at its end.")
    canvas: tuple[int, int] | None = None
    orientation, play_count = 1, 0
    durations_ms: list[int] = []
    lossy: list[memoryview] = []
    images = 0
    for kind, body in _walk_riff(memoryview(data)[12:]):
        if kind == b"VP8X" and len(body) >= 10 and canvas is None:
            canvas = _u24(body, 4) + 1, _u24(body, 7) + 1
        elif kind in (b"VP8 ", b"VP8L"):
            images += 1
            canvas = canvas or _stream_size(kind, body)
            lossy += [body] if kind == b"VP8 " else []
        elif kind == b"EXIF":
            orientation = read_orientation(bytes(body))
        elif kind == b"ANIM" and len(body) >= 6:
            play_count = int.from_bytes(body[4:6], "little")
        elif kind == b"ANMF" and len(body) >= 16:
            durations_ms.append(_u24(body, 12))
            if len(durations_ms) > limits.max_frames:
                raise too_large(f"The animation has more than {limits.max_frames:,} frames, which is the limit.")
            for inner, stream in _walk_riff(body[16:]):
                images += inner in (b"VP8 ", b"VP8L")
                lossy += [stream] if inner == b"VP8 " else []
    if canvas is None or not images:
        raise corrupt_image("The WebP is damaged: it contains no image.")
    return ImageStructure(
        *canvas,
        frames=max(1, len(durations_ms)),
        orientation=orientation,
        play_count=play_count,
        durations_ms=tuple(durations_ms),
        lossless=len(lossy) < images,
        streams=tuple(lossy),
    )


def open(file: BytesIO) -> WebPImageFile:
    return WebPImageFile(BytesIO(_declare_alpha(file.getvalue())))


def _declare_alpha(data: bytes) -> bytes:
    """The file with the flag for alpha if its frames leave a part of the canvas uncovered, which is transparent.

    Encoders set the flag only if a frame itself has alpha. Browsers need it for no animation, but other readers and
    Pillow show black without it.
    """
    chunks = _walk_riff(memoryview(data)[12:])
    kind, header = next(chunks, (b"", memoryview(b"")))
    if kind != b"VP8X" or len(header) < 10 or header[0] & _HAS_ALPHA:
        return data
    frames = [body for kind, body in chunks if kind == b"ANMF" and len(body) >= 16]
    is_covered = not frames or frames[0][6:12] == header[4:10]
    if is_covered and not any(frame[15] & _CLEARS for frame in frames):
        return data
    return data[:20] + bytes((header[0] | _HAS_ALPHA,)) + data[21:]


def _walk_riff(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    for _ in range(MAX_PARTS):
        if at + 8 > len(view):
            return
        length = int.from_bytes(view[at + 4 : at + 8], "little")
        yield bytes(view[at : at + 4]), view[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)
    raise corrupt_image("The WebP is damaged: it is split into too many chunks.")


def _u24(view: memoryview, at: int) -> int:
    return int.from_bytes(view[at : at + 3], "little")


def _stream_size(kind: bytes, body: memoryview) -> tuple[int, int] | None:
    if kind == b"VP8 " and len(body) >= 10 and bytes(body[3:6]) == b"\x9d\x01\x2a":
        w, h = struct.unpack_from("<HH", body, 6)
        return w & 0x3FFF, h & 0x3FFF
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """Yields one file of the wanted quality; nothing if the source is lossless or not better than that."""
    image, structure = source.image, source.structure
    load(image)
    if structure.lossless or is_already_at_quality(structure.streams, options.quality):
        return
    extras = collect_extras(image, structure.orientation, metadata=options.metadata)
    settings = EncodeSettings(
        options.quality,
        extras,
        effort=options.effort,
        durations_ms=structure.durations_ms,
        play_count=structure.play_count,
    )
    if not structure.durations_ms:
        yield encode([image], settings)
        return
    with decode_errors():
        data = encode([image], settings)
    # The encoder merges frames that look alike. Then the source is more faithful and is kept.
    result = probe(data, ImageLimits(max_frames=structure.frames))
    if result.durations_ms == structure.durations_ms and result.play_count == structure.play_count:
        yield data


def shed(source: OpenedImage, options: Options) -> bytes:
    """The chunks of the source with the wanted metadata, and without a profile that browsers do not apply."""
    data = source.data[: 8 + int.from_bytes(source.data[4:8], "little")]
    chunks = [(kind, bytes(body)) for kind, body in _walk_riff(memoryview(data)[12:])]
    extras = collect_extras(source.image, source.structure.orientation, metadata=options.metadata)
    if chunks[0][0] != b"VP8X":
        return data
    flags, dropped, added = chunks[0][1][0], [], []
    if not extras.icc:
        flags, dropped = flags & ~_HAS_ICC, [b"ICCP"]
    if options.metadata is not Metadata.ALL:
        added = [(b"EXIF", extras.exif.removeprefix(b"Exif\0\0")), (b"XMP ", extras.xmp)]
        flags &= ~(_HAS_EXIF | _HAS_XMP)
        flags |= (_HAS_EXIF if extras.exif else 0) | (_HAS_XMP if extras.xmp else 0)
        dropped += [b"EXIF", b"XMP "]
    out = [(b"VP8X", bytes((flags,)) + chunks[0][1][1:])]
    out += [c for c in chunks[1:] if c[0] not in dropped] + [c for c in added if c[1]]
    return _write_riff(out)


def _write_riff(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) & 1) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def add_mark(data: bytes, floor: int) -> bytes:
    """Adds the chunk of `floor_mark`, which the extended format allows. It is kept when metadata are dropped."""
    chunks = [(kind, bytes(body)) for kind, body in _walk_riff(memoryview(data)[12:])]
    if chunks[0][0] != b"VP8X":
        kind, body = chunks[0]
        width, height = _stream_size(kind, memoryview(body)) or (1, 1)
        flags = _HAS_ALPHA if kind == b"VP8L" else 0
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks.insert(0, (b"VP8X", bytes((flags, 0, 0, 0)) + size))
    return _write_riff([*chunks, (_FLOOR_MARK, bytes((floor,)))])


def read_mark(data: bytes) -> int | None:
    chunks = _walk_riff(memoryview(data)[12:])
    return next((body[0] for kind, body in chunks if kind == _FLOOR_MARK and body), None)


def is_already_at_quality(streams: tuple[memoryview, ...], quality: int) -> bool:
    """Whether every VP8 stream is quantized as coarsely as the quality requires, or more coarsely.

    An encoder may quantize up to four segments differently, around the wanted step. The coarsest one is compared, so
    that our own output is always recognised.
    """
    wanted = quantizer_index(quality)
    return bool(streams) and all(coarsest_quantizer(s) >= wanted for s in streams)


def quantizer_index(quality: int) -> int:
    """libwebp's quantizer index (0 to 127) for a quality of the options."""
    c = webp_quality(quality) / 100
    linear = c * (2 / 3) if c < 0.75 else 2 * c - 1
    return int(127 * (1 - linear ** (1 / 3)))


def coarsest_quantizer(stream: memoryview) -> int:
    """The coarsest quantizer index of a VP8 key frame (RFC 6386, sections 9.2 to 9.6); -1 if it is unreadable."""
    if len(stream) < 12 or stream[0] & 1 or bytes(stream[3:6]) != b"\x9d\x01\x2a":
        return -1
    bits = _BoolReader(stream[10:])
    bits.number(2)  # colour space, clamping
    absolute, segments = False, [0]
    if bits.number(1):
        map_follows = bits.number(1)
        if bits.number(1):
            absolute = bool(bits.number(1))
            segments = [bits.optional_number(7) for _ in range(4)]
            for _ in range(4):
                bits.optional_number(6)
        if map_follows:
            for _ in range(3):
                if bits.number(1):
                    bits.number(8)
    bits.number(10)  # loop filter: type, level, sharpness
    if bits.number(1) and bits.number(1):
        for _ in range(8):
            bits.optional_number(6)
    bits.number(2)  # number of partitions
    base = bits.number(7)
    return max(s if absolute else base + s for s in segments)


class _BoolReader:
    """The arithmetic decoder of VP8 for even probabilities, which its header uses (RFC 6386, 7.3)."""

    def __init__(self, data: memoryview) -> None:
        # A number takes at most as many bits as it has. All of them together have fewer than 256.
        self._value, self._range, self._bits_left = int.from_bytes(bytes(data[:64]).ljust(64, b"\0"), "big"), 255, 504

    def number(self, bits: int) -> int:
        out = 0
        for _ in range(bits):
            out = out * 2 + self._bit()
        return out

    def optional_number(self, bits: int) -> int:
        """A signed number that follows a flag; 0 if the flag is not set."""
        if not self._bit():
            return 0
        size = self.number(bits)
        return -size if self._bit() else size

    def _bit(self) -> int:
        split = 1 + (self._range - 1 >> 1)
        bit = self._value >= split << self._bits_left
        if bit:
            self._value -= split << self._bits_left
        self._range = self._range - split if bit else split
        if self._range < 128:
            self._range <<= 1
            self._bits_left -= 1
        return bit


def encode(images: Sequence[Image.Image], settings: EncodeSettings) -> bytes:
    """The images are one still image, the frames of an animation, or one animated image of Pillow."""
    first, *rest = images
    common = {
        "lossless": settings.lossless,
        # In a lossless file, quality means effort.
        "quality": 50 if settings.lossless else webp_quality(settings.quality),
        "method": _METHODS[settings.effort],
        "icc_profile": settings.extras.icc,
        "xmp": settings.extras.xmp,
    }
    if not settings.durations_ms:
        if first.mode not in ("RGB", "RGBA"):
            first = first.convert("RGBA" if first.has_transparency_data else "RGB")
        return save(first, "WEBP", exif=settings.extras.exif, **common)
    # The background of a GIF is an index into its palette, and has no meaning here.
    background = first.info.get("background")
    data = save(
        first,
        "WEBP",
        save_all=True,
        append_images=rest,
        duration=list(settings.durations_ms),
        loop=settings.play_count,
        background=background if isinstance(background, tuple) else (0, 0, 0, 0),
        exif=settings.extras.exif.removeprefix(b"Exif\0\0"),
        **common,
    )
    return _declare_alpha(data)
