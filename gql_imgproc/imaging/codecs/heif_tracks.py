"""Reads an animation in a HEIF file, a track of AV1 samples (ISO/IEC 14496-12, chapter 8), within bounds."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice, pairwise

from gql_imgproc.imaging.codecs.isobmff import Box, IsoBmffReader
from gql_imgproc.imaging.errors import corrupt_image, too_large

_EMPTY = memoryview(b"")
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
    for name in (b"stts", b"stss", b"stsc", b"ctts"):
        # Decoders search these tables once per frame.
        if name in boxes and struct.unpack_from(">I", boxes[name], 4)[0] > max_frames:
            raise _too_many_frames(max_frames)
    wide = b"co64" in boxes
    chunks = boxes.get(b"co64" if wide else b"stco", _EMPTY)
    (chunk_count,) = struct.unpack_from(">I", chunks, 4)
    runs = boxes.get(b"stsc", _EMPTY)
    (run_count,) = struct.unpack_from(">I", runs, 4)
    first_chunks = [struct.unpack_from(">II", runs, 8 + 12 * n) for n in range(run_count)]
    starts = [*(first for first, _ in first_chunks), chunk_count + 1]
    if starts[0] != 1 or any(after <= before for before, after in pairwise(starts)):
        raise corrupt_image("The AVIF is damaged: its table of frames is invalid.")
    # A run is a number of chunks with the same number of frames each.
    equal = [(after - before, each) for (before, after), (_, each) in zip(pairwise(starts), first_chunks, strict=True)]
    frames = sum(run * each for run, each in equal)
    if max(frames, chunk_count) > max_frames:
        raise _too_many_frames(max_frames)
    offsets = iter(struct.unpack_from(f">{chunk_count}{'Q' if wide else 'I'}", chunks, 8))
    sizes = boxes.get(b"stsz", _EMPTY)
    (same,) = struct.unpack_from(">I", sizes, 4)
    lengths = iter((same,) * frames if same else struct.unpack_from(f">{frames}I", sizes, 12))
    samples: list[memoryview] = []
    for run, each in equal:
        for offset in islice(offsets, run):
            at = offset
            for length in islice(lengths, each):
                samples.append(file.read_extents(file.view, ((at, length),)))
                at += length
    return samples


def _too_many_frames(max_frames: int) -> Exception:
    return too_large(f"The animation has more than {max_frames:,} frames, which is the limit.")
