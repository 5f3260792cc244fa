"""An animation in a HEIF file: a track of AV1 samples (ISO/IEC 14496-12, chapter 8), read within bounds."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice, pairwise

from gql_imgproc.imaging.errors import corrupt_image, too_large
from gql_imgproc.imaging.isobmff import Box, IsoBmffReader

_NOTHING = memoryview(b"")
#: A duration that means "without end".
_ENDLESS = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Track:
    """`sizes` are the claims of its header and its sample entries, `plays` how often it runs, 0 for ever."""

    sizes: list[tuple[int, int]]
    samples: list[memoryview]
    properties: list[list[Box]]
    plays: int


def track(file: IsoBmffReader, body: memoryview, max_frames: int) -> Track | None:
    """A `trak` box; None for one that is not of AV1."""
    size, duration, edits = (0, 0), 0, _NOTHING
    table: dict[bytes, memoryview] = {}
    for kind, inner in file.walk(body):
        if kind == b"tkhd":
            form, at = (">Q", 28) if inner[0] else (">I", 20)
            (duration,) = struct.unpack_from(form, inner, at)
            width, height = struct.unpack_from(">II", inner, 88 if inner[0] else 76)
            size = width >> 16, height >> 16
        elif kind == b"edts":
            edits = next((content for name, content in file.walk(inner) if name == b"elst"), _NOTHING)
        elif kind == b"mdia":
            for name, content in file.walk(inner):
                if name == b"minf":
                    for part, boxes in file.walk(content):
                        if part == b"stbl":
                            table.update(file.walk(boxes))
    entries = [entry for kind, entry in file.walk(table.get(b"stsd", _NOTHING)[8:]) if kind == b"av01"]
    if not entries:
        return None
    return Track(
        [size, *(struct.unpack_from(">HH", entry, 24) for entry in entries)],
        _samples(file, table, max_frames),
        [list(file.walk(entry[78:])) for entry in entries],
        _plays(edits, duration),
    )


def _plays(edits: memoryview, duration: int) -> int:
    """An edit that is repeated until the track ends (elst, 8.6.6); browsers take no edit for endless."""
    if len(edits) < 12:
        return 0
    if not edits[3] & 1:
        return 1
    if duration in _ENDLESS:
        return 0
    (once,) = struct.unpack_from(">Q" if edits[0] else ">I", edits, 8)
    return -(-duration // once) if once else 0


def _samples(file: IsoBmffReader, table: dict[bytes, memoryview], max_frames: int) -> list[memoryview]:
    """The bytes of each frame, from stsz, stsc, and stco or co64 (8.7)."""
    for name in (b"stts", b"stss", b"stsc", b"ctts"):
        # Decoders walk these tables for each frame.
        if name in table and struct.unpack_from(">I", table[name], 4)[0] > max_frames:
            raise _too_many(max_frames)
    wide = b"co64" in table
    chunks = table.get(b"co64" if wide else b"stco", _NOTHING)
    (many,) = struct.unpack_from(">I", chunks, 4)
    runs = table.get(b"stsc", _NOTHING)
    (several,) = struct.unpack_from(">I", runs, 4)
    told = [struct.unpack_from(">II", runs, 8 + 12 * n) for n in range(several)]
    starts = [*(first for first, _ in told), many + 1]
    if starts[0] != 1 or any(after <= before for before, after in pairwise(starts)):
        raise corrupt_image("The AVIF is damaged: the table of its frames is wrong.")
    # Each run is of some chunks that hold equally many frames.
    equal = [(after - before, each) for (before, after), (_, each) in zip(pairwise(starts), told, strict=True)]
    frames = sum(run * each for run, each in equal)
    if max(frames, many) > max_frames:
        raise _too_many(max_frames)
    offsets = iter(struct.unpack_from(f">{many}{'Q' if wide else 'I'}", chunks, 8))
    sizes = table.get(b"stsz", _NOTHING)
    (same,) = struct.unpack_from(">I", sizes, 4)
    lengths = iter((same,) * frames if same else struct.unpack_from(f">{frames}I", sizes, 12))
    samples: list[memoryview] = []
    for run, each in equal:
        for offset in islice(offsets, run):
            at = offset
            for length in islice(lengths, each):
                samples.append(file.joined(file.view, ((at, length),)))
                at += length
    return samples


def _too_many(max_frames: int) -> Exception:
    return too_large(f"The animation has more than {max_frames:,} frames, which is the limit.")
