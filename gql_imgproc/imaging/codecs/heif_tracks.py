"""Reads an animation in a HEIF file, a track of AV1 samples (ISO/IEC 14496-12, chapter 8), within bounds."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice, pairwise

from gql_imgproc.imaging.codecs.isobmff import Box, IsoBmffReader
from gql_imgproc.imaging.errors import corrupt_image, too_large

_EMPTY = memoryview(b"")
#: Tables of times, key frames, runs and chunks.
_TABLES = {b"stts", b"ctts", b"stss", b"stsc", b"stco", b"co64"}
#: Durations that mean "without end".
_ENDLESS = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Track:
    """`sizes` are declared by its header and its sample entries; a `play_count` of 0 means without end."""

    sizes: list[tuple[int, int]]
    samples: list[memoryview]
    properties: list[Box]
    play_count: int


def read_track(file: IsoBmffReader, body: memoryview, max_frames: int) -> Track | None:
    """A `trak` box; None if it contains no AV1."""
    boxes = dict(file.walk_nested(body))
    entries = [entry for kind, entry in file.walk(boxes.get(b"stsd", _EMPTY)[8:]) if kind == b"av01"]
    if not entries:
        return None
    header = boxes.get(b"tkhd", _EMPTY)
    form, at, size_at = (">Q", 28, 88) if header[0] else (">I", 20, 76)
    (duration,) = struct.unpack_from(form, header, at)
    width, height = struct.unpack_from(">II", header, size_at)
    return Track(
        [(width >> 16, height >> 16), *(struct.unpack_from(">HH", entry, 24) for entry in entries)],
        _read_samples(file, boxes, max_frames),
        [box for entry in entries for box in file.walk(entry[78:])],
        _read_play_count(boxes.get(b"elst", _EMPTY), duration),
    )


def _read_play_count(edits: memoryview, duration: int) -> int:
    """The edit is repeated until the track ends (elst, 8.6.6). Browsers repeat without end if there is no edit."""
    if len(edits) < 12:
        return 0
    if not edits[3] & 1:
        return 1
    if duration in _ENDLESS:
        return 0
    (once,) = struct.unpack_from(">Q" if edits[0] else ">I", edits, 8)
    return -(-duration // once) if once else 0


def _read_samples(file: IsoBmffReader, boxes: dict[bytes, memoryview], max_frames: int) -> list[memoryview]:
    """The bytes of each frame, from stsz, stsc, and stco or co64 (8.7)."""
    # Decoders search these tables once per frame.
    counts = {name: struct.unpack_from(">I", boxes[name], 4)[0] for name in boxes.keys() & _TABLES}
    if any(count > max_frames for count in counts.values()):
        raise _too_many_frames(max_frames)
    name, form = (b"co64", "Q") if b"co64" in counts else (b"stco", "I")
    offsets = struct.unpack_from(f">{counts.get(name, 0)}{form}", boxes.get(name, _EMPTY), 8)
    runs = [struct.unpack_from(">II", boxes[b"stsc"], 8 + 12 * n) for n in range(counts.get(b"stsc", 0))]
    # A run is a number of chunks with the same number of frames each. It ends where the next one begins.
    starts = [*(first for first, _ in runs), len(offsets) + 1]
    if starts[0] != 1 or any(after <= before for before, after in pairwise(starts)):
        raise corrupt_image("The file is damaged: its table of frames is invalid.")
    each = [frames for (_, frames), run in zip(runs, pairwise(starts), strict=True) for _ in range(*run)]
    if sum(each) > max_frames:
        raise _too_many_frames(max_frames)
    sizes = boxes.get(b"stsz", _EMPTY)
    (same,) = struct.unpack_from(">I", sizes, 4)
    lengths = iter((same,) * sum(each) if same else struct.unpack_from(f">{sum(each)}I", sizes, 12))
    samples: list[memoryview] = []
    for at, frames in zip(offsets, each, strict=True):
        for length in islice(lengths, frames):
            samples.append(file.read_extents(file.view, ((at, length),)))
            at += length
    return samples


def _too_many_frames(max_frames: int) -> Exception:
    return too_large(f"The animation has more than {max_frames:,} frames, which is the limit.")
