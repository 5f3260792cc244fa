"""Generated profiles of a printer and of linear light."""

from __future__ import annotations

import struct
from itertools import product

#: Lightness, red-green and blue-yellow (around 128) of the paper and of each ink.
_PAPER, _INKS = (255, 128, 128), ((150, 208, 128), (150, 48, 128), (240, 128, 208), (40, 128, 128))


def cmyk_profile() -> bytes:
    """Cyan is red and magenta is green, so the colours are right only if the profile is applied."""
    table = bytearray()
    for amounts in product((0, 1), repeat=4):
        lab = [float(n) for n in _PAPER]
        for amount, ink in zip(amounts, _INKS, strict=True):
            if amount:
                lab = [lab[0] * ink[0] / 255, lab[1] + ink[1] - 128, lab[2] + ink[2] - 128]
        table += bytes(round(min(255, max(0, n))) for n in lab)
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65_536 if n % 4 == 0 else 0 for n in range(9)))
    a2b = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + matrix + identity * 4 + bytes(table) + identity * 3
    description = b"desc" + bytes(4) + struct.pack(">I", 5) + b"inks\0" + bytes(4 + 4 + 2 + 1 + 67)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63_190, 65_536, 54_061)
    parts = {b"desc": description, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": white, b"A2B0": a2b}
    return _assemble(parts, b"prtr", b"CMYK", b"Lab ")


def linear_profile(space: bytes) -> bytes:
    """A profile for linear light: grey (`GRAY`) or RGB with the primaries of sRGB (`RGB `)."""

    def xyz(*numbers: float) -> bytes:
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(n * 65_536) for n in numbers))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, 256)
    parts = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 7) + b"linear\0" + bytes(4 + 4 + 2 + 1 + 67),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": xyz(0.9642, 1, 0.8249),
    }
    if space == b"GRAY":
        parts[b"kTRC"] = curve
    else:
        primaries = {b"r": (0.4361, 0.2225, 0.0139), b"g": (0.3851, 0.7169, 0.0971), b"b": (0.1431, 0.0606, 0.7141)}
        parts |= {name + b"XYZ": xyz(*point) for name, point in primaries.items()}
        parts |= {name + b"TRC": curve for name in primaries}
    return _assemble(parts, b"mntr", space, b"XYZ ")


def _assemble(parts: dict[bytes, bytes], device: bytes, space: bytes, connection: bytes) -> bytes:
    body, at, entries = b"", 128 + 4 + 12 * len(parts), b""
    for name, part in parts.items():
        entries += name + struct.pack(">II", at + len(body), len(part))
        body += part + bytes(-len(part) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"none", 0x02400000, device, space, connection)
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += struct.pack(">3i", 63_190, 65_536, 54_061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(parts)) + entries + body
